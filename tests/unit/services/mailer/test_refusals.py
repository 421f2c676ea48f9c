"""The names and messages that callers see, and which refusals are for good."""

import inspect

import pytest

from libs.common.errors import ArgosyError, Reject
from services.mailer import refusals

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
        (refusals.TemplateInvalid, "template_invalid"),
        (refusals.ComposingTooSlow, "composing_too_slow"),
        (refusals.AttachmentMissing, "attachment_missing"),
        (refusals.NotFound, "not_found"),
        (refusals.TokenInvalid, "token_invalid"),
    ],
)
def test_codes_are_those_that_callers_know(error: type[ArgosyError], code: str) -> None:
    assert error("in other words").code == code


def test_bad_luck_is_tried_again_and_a_bad_letter_is_not() -> None:
    for_good: set[type[Exception]] = {error for error in ERRORS if issubclass(error, Reject)}
    assert refusals.ComposingCrashed not in for_good, "the process may have been killed for another's sake"
    assert refusals.NoLongerOurs not in for_good
    assert {refusals.TemplateInvalid, refusals.ComposingTooSlow, refusals.AttachmentMissing} <= for_good
