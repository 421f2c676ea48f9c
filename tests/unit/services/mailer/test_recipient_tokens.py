"""A token names its recipient, survives the loss of its case, and cannot be made up."""

import base64
import string
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mailer.recipient_tokens import RETURN_PREFIX, RecipientTokens, Subscriber
from services.mailer.refusals import TokenInvalid

TOKENS = RecipientTokens("a secret of thirty-two letters or more")
LETTER = UUID(int=0x0123456789ABCDEF0123456789ABCDEF)


@given(letter=st.uuids(), number=st.integers(0, 2**32 - 1))
def test_a_token_names_its_recipient_whatever_its_case(letter: UUID, number: int) -> None:
    token = TOKENS.make(letter, number)
    assert TOKENS.read(token) == TOKENS.read(token.upper()) == (letter, number)


@given(letter=st.uuids(), number=st.integers(0, 2**32 - 1))
def test_a_return_path_fits_into_an_address(letter: UUID, number: int) -> None:
    token = TOKENS.make(letter, number)
    assert len(token) == 48
    assert set(token) <= set(string.ascii_lowercase + string.digits)
    assert len(RETURN_PREFIX + token) <= 64, "RFC 5321, 4.5.3.1.1"


@given(position=st.integers(0, 47), replacement=st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_token_with_another_letter_is_none(position: int, replacement: str) -> None:
    token = TOKENS.make(LETTER, 7)
    forged = token[:position] + replacement + token[position + 1 :]
    if forged != token:
        with pytest.raises(TokenInvalid):
            TOKENS.read(forged)


@given(st.text(max_size=60))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenInvalid):
        TOKENS.read(text)


ADA = Subscriber(LETTER, "harbour", "ada@example.test")


@given(letter=st.uuids(), address=st.emails(), tenant=st.text(st.characters(codec="utf-8", min_codepoint=1)))
def test_a_link_names_its_subscriber(letter: UUID, tenant: str, address: str) -> None:
    subscriber = Subscriber(letter, tenant, address)
    token = TOKENS.make_link(subscriber)
    assert TOKENS.read_link(token) == subscriber
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")


def test_a_link_shows_neither_tenant_nor_address() -> None:
    token = TOKENS.make_link(ADA)
    content = base64.urlsafe_b64decode(token[1:] + "==")
    for shown in (b"harbour", b"ada", b"example", LETTER.bytes):
        assert shown not in content
    assert token == TOKENS.make_link(ADA), "a letter that is sent again is the same"
    assert token != TOKENS.make_link(ADA._replace(letter_id=UUID(int=1)))


@given(position=st.integers(0, 90), replacement=st.sampled_from(string.ascii_letters + string.digits + "-_="))
def test_a_link_with_another_letter_is_none_or_the_same(position: int, replacement: str) -> None:
    """The last character has bits that mean nothing."""
    token = TOKENS.make_link(ADA)
    forged = token[:position] + replacement + token[position + 1 :]
    if position < len(token) - 1 and forged != token:
        with pytest.raises(TokenInvalid):
            TOKENS.read_link(forged)


@given(st.one_of(st.text(max_size=90), st.text(max_size=90).map("1".__add__)))
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(TokenInvalid):
        TOKENS.read_link(text)


def test_links_of_letters_sent_long_ago_are_still_read() -> None:
    assert TOKENS.read_link(TOKENS.make(LETTER, 7)) == (LETTER, 7)
    with pytest.raises(TokenInvalid):
        TOKENS.read(TOKENS.make_link(ADA))


def test_a_token_made_with_another_secret_is_refused() -> None:
    with pytest.raises(TokenInvalid):
        TOKENS.read(RecipientTokens("another secret of thirty-two letters").make(LETTER, 7))
    with pytest.raises(TokenInvalid):
        TOKENS.read_link(RecipientTokens("another secret of thirty-two letters").make_link(ADA))
