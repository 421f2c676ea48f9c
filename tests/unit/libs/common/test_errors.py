"""How errors are named on the wire, and what they say."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import (
    ArgosyError,
    Reject,
    Retry,
    all_codes,
    code_of,
    message_of,
    storable,
    without_addresses,
)


class PageTimeout(Reject):
    """The page took too long.

    It was read for as long as its job allows.
    """


class Nameless(ArgosyError):
    __doc__ = None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("PageTimeout", "page_timeout"),
        ("Page2Timeout", "page2_timeout"),
        ("Bug", "bug"),
        ("already_so", "already_so"),
    ],
)
def test_a_code_is_the_class_in_snake_case(name: str, code: str) -> None:
    assert code_of(type(name, (ArgosyError,), {})) == code


def test_without_a_message_the_first_line_of_the_docstring_is_said() -> None:
    assert str(PageTimeout()) == str(PageTimeout("")) == "The page took too long."
    assert str(PageTimeout("Page 7.")) == "Page 7."
    assert PageTimeout().code == "page_timeout"


def test_an_error_without_a_docstring_can_be_raised() -> None:
    """As all of them are where Python strips docstrings (-OO)."""
    assert str(Nameless()) == "Nameless"


def test_a_retry_says_after_how_long_or_leaves_it_to_the_backoff() -> None:
    assert Retry().after is None
    assert Retry("busy", after=0).after == 0


def test_an_error_that_says_nothing_is_told_by_its_class() -> None:
    assert message_of(TimeoutError()) == "TimeoutError"
    assert message_of(ValueError("no")) == "no"


@given(st.text(st.characters()))
def test_any_text_can_be_stored_and_good_text_stays_as_it_is(text: str) -> None:
    stored = storable(text)
    assert "\x00" not in stored
    assert storable(stored) == stored
    assert orjson.loads(orjson.dumps(stored)) == stored
    good = "".join(letter for letter in text if letter != "\x00" and not "\ud800" <= letter <= "\udfff")
    assert storable(good) == good


@pytest.mark.parametrize(
    "thing", [object(), iter([]), "".upper, test_any_text_can_be_stored_and_good_text_stays_as_it_is]
)
def test_what_python_prints_of_an_object_is_told_without_its_address(thing: object) -> None:
    assert "0x" in repr(thing)
    assert "0x" not in without_addresses(f"cannot use {thing!r}, nor [{thing!r}]")


def test_other_numbers_stay() -> None:
    said = "crashed at 0x7f434d39bd80, reading 0xdeadbeef"
    assert without_addresses(said) == said


def test_every_error_that_is_known_has_its_code_among_all() -> None:
    class OfThisTest(Reject):
        """No."""

    assert {"bug", "reject", "unavailable", "of_this_test"} <= all_codes()
