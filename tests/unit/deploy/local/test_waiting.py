"""When it makes no sense to wait any longer."""

from pathlib import Path

import pytest

from deploy.local import waiting
from deploy.local.errors import CannotRun
from deploy.local.waiting import ENDINGS, NONE_ALIVE_S, Endings, last_lines, wait_for


def test_a_program_that_lives_is_waited_for() -> None:
    endings = Endings(2, 0.0)
    assert not any(endings.keeps_ending([1, 2], now) for now in (0.0, 60.0, 3600.0))


def test_one_that_is_replaced_again_and_again_is_not() -> None:
    endings = Endings(1, 0.0)
    told = [endings.keeps_ending([pid], float(pid)) for pid in range(1, ENDINGS + 2)]
    assert told == [False] * ENDINGS + [True]


def test_nor_one_that_ends_too_fast_to_be_seen() -> None:
    endings = Endings(1, 0.0)
    assert not endings.keeps_ending([], NONE_ALIVE_S)
    assert endings.keeps_ending([], NONE_ALIVE_S + 1)


def test_none_alive_is_right_where_none_was_asked_for() -> None:
    assert not Endings(0, 0.0).keeps_ending([], 3600.0)


def test_a_server_is_given_time_to_recover() -> None:
    endings = Endings(1, 0.0, patience_s=10.0)
    assert not any(endings.keeps_ending([pid], float(pid)) for pid in range(1, 10))
    assert endings.keeps_ending([10], 10.0)


def test_the_end_of_a_log_is_of_this_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOGS", tmp_path)
    assert last_lines("ocr") == []
    log = tmp_path / "ocr.log"
    log.write_text("of before\n")
    size = log.stat().st_size
    log.write_text("of before\n" + "".join(f"{n}\n" for n in range(100)))
    assert last_lines("ocr", size)[-1] == "99"
    assert last_lines("ocr", log.stat().st_size - 3) == ["99"]
    log.write_text("new\n")  # begun anew, as it had grown too long
    assert last_lines("ocr", size) == ["new"]


def test_what_does_not_come_is_named() -> None:
    with pytest.raises(CannotRun, match="the ship is not ready after 0 s"):
        wait_for("the ship", lambda: False, within_s=0)
