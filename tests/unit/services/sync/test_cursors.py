"""A cursor fits the question for which it was issued, and no other."""

import pytest

from services.sync.cursors import Cursors
from services.sync.refusals import CursorInvalid

CURSORS = Cursors("not a secret, but long enough to be one")


def test_a_cursor_gives_its_position_back() -> None:
    assert CURSORS.read(b"grants", CURSORS.issue(b"grants", ["2030", "x"])) == ["2030", "x"]


@pytest.mark.parametrize("question", [b"", b"grant", b"loans"])
def test_it_fits_no_other_question(question: bytes) -> None:
    with pytest.raises(CursorInvalid):
        CURSORS.read(question, CURSORS.issue(b"grants", ["2030"]))


@pytest.mark.parametrize("made_up", ["", "x", "AAAA" * 20, "é"])
def test_what_is_no_cursor_is_refused(made_up: str) -> None:
    with pytest.raises(CursorInvalid):
        CURSORS.read(b"grants", made_up)
