"""Prefer in all the forms of RFC 7240, and in those that somebody thought up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.http.preferences import READ_AT_MOST, preferences


@pytest.mark.parametrize(
    ("lines", "wait"),
    [
        (["wait=10"], "10"),
        (['wait="10"'], "10"),
        (["respond-async, wait=10"], "10"),
        (["respond-async", "wait=10"], "10"),
        (["WAIT=10"], "10"),
        (["wait = 10"], "10"),
        (["  wait=10  ;  strict ; x=y"], "10"),
        (['handling=lenient; note="a, wait=5", wait=10'], "10"),
        (['note="say \\", wait=5", wait=10'], "10"),
        (["wait=10, wait=20"], "10"),
        (["wait=10", "wait=20"], "10"),
        ([",, wait=10 ,"], "10"),
        (["wait"], ""),
        (["wait="], ""),
        (["wait; x=10"], ""),
        (["await=10"], None),
        (["return=minimal"], None),
        (['note="wait=10"'], None),
        (['note="wait=10'], None),
        (["wait=1 0"], None),
        (['wait="10'], None),
        ([], None),
        ([""], None),
        (["wait=10," + " " * READ_AT_MOST], None),
    ],
)
def test_every_form(lines: list[str], wait: str | None) -> None:
    assert preferences(lines).get("wait") == wait


TOKENS = st.text("abcXYZ019-_.!*", min_size=1, max_size=8)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.dictionaries(TOKENS.map(str.lower), VALUES, max_size=6), st.sampled_from([", ", ",", " , "]))
def test_what_was_written_is_read(wanted: dict[str, str], between: str) -> None:
    assert preferences([between.join(f"{name}={quoted(value)}" for name, value in wanted.items())]) == wanted


@given(st.lists(st.text(st.sampled_from('wait=1,;" \\\t'), max_size=300), max_size=3))
def test_anything_can_be_read(lines: list[str]) -> None:
    assert all(isinstance(value, str) for value in preferences(lines).values())
