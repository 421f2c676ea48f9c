"""A link leads to its file until it ends; nobody else can make one, and no other text is one."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.ledger.jobs import new_id
from libs.common.links import Link, link_of, token_of

SECRET = "not a secret, but long enough to be one"  # noqa: S105
LINK = Link("acme", new_id(), "jobs.csv", "ab" * 32, int(time.time()) + 86_400)


@given(st.text(max_size=20), st.text(max_size=50), st.integers(1, 100_000))
def test_a_link_is_what_was_signed(tenant: str, name: str, left_s: int) -> None:
    tenant, name = (text.encode(errors="replace").decode() for text in (tenant, name))
    link = replace(LINK, tenant=tenant, name=name, expires=int(time.time()) + left_s)
    token = token_of(link, SECRET)
    assert link_of(token, SECRET) == link
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@given(st.integers(0, 10_000), st.characters(codec="ascii", categories=("L", "N")))
def test_an_altered_link_is_none(place: int, letter: str) -> None:
    token = token_of(LINK, SECRET)
    place %= len(token)
    altered = token[:place] + letter + token[place + 1 :]
    assert link_of(altered, SECRET) in ((LINK,) if altered == token else (None, LINK))
    if altered != token and link_of(altered, SECRET) == LINK:  # bits that base64 does not use
        assert place in (token.index(".") - 1, len(token) - 1)


@given(st.text(max_size=300))
def test_any_other_text_is_none(text: str) -> None:
    assert link_of(text, SECRET) is None


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "=.=", "é.é", "a" * 10_000])
def test_garbage_is_none(text: str) -> None:
    assert link_of(text, SECRET) is None


def test_an_expired_link_is_none_and_so_is_one_of_another_secret() -> None:
    assert link_of(token_of(replace(LINK, expires=int(time.time()) - 1), SECRET), SECRET) is None
    assert link_of(token_of(LINK, SECRET + "!"), SECRET) is None
