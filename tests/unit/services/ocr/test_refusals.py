"""The names and messages that callers see, and which refusals are for good."""

import inspect

import pytest

from libs.common.errors import ArgosyError, Reject
from services.ocr import refusals

ERRORS = [
    error for _, error in inspect.getmembers(refusals, inspect.isclass) if error.__module__ == refusals.__name__
]


def test_each_says_one_sentence_of_its_own() -> None:
    messages = [str(error()) for error in ERRORS]
    assert len(set(messages)) == len(ERRORS)
    assert all(message.endswith(".") and "\n" not in message for message in messages)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusals.UnreadableDocument, "unreadable_document"),
        (refusals.NoSuchPage, "no_such_page"),
        (refusals.PageTimeout, "page_timeout"),
        (refusals.OutOfMemory, "out_of_memory"),
        (refusals.LanguageNotInstalled, "language_not_installed"),
    ],
)
def test_codes_are_those_that_callers_know(error: type[ArgosyError], code: str) -> None:
    assert error("in other words").code == code


def test_only_a_process_that_died_is_tried_again() -> None:
    """It may have been for another's sake; what a document is stays as it is."""
    assert {error for error in ERRORS if not issubclass(error, Reject)} == {
        refusals.PageCrashed,
        refusals.EngineFailed,
    }
