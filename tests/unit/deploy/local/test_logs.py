"""What `make logs` says when there is nothing to follow."""

from pathlib import Path

import pytest

from deploy.local import logs as module
from deploy.local.errors import CannotRun
from deploy.local.logs import logs


def test_before_a_fleet_was_up_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOGS", tmp_path)
    with pytest.raises(CannotRun, match="make up"):
        logs(None)


def test_an_unknown_name_is_told_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOGS", tmp_path)
    for name in ("ocr", "gateway"):
        (tmp_path / f"{name}.log").touch()
    with pytest.raises(CannotRun, match="gateway, ocr"):
        logs("mailer")
