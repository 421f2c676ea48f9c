"""Whom a refusal is about."""

import pytest

from services.mailer.suppressions import is_hard


@pytest.mark.parametrize(("code", "hard"), [("5.1.1", True), ("5.1.8", False), ("5.7.1", False), (None, False)])
def test_whom_a_refusal_is_about(code: str | None, hard: bool) -> None:
    assert is_hard(code) is hard
