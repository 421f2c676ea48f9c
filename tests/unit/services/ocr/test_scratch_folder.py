"""Customers' documents do not stay behind, whoever died."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from services.ocr.scratch_folder import scratch_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders of this user are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"argosy-ocr-{os.getuid()}"


def use_and_fail(kept: list[Path]) -> None:
    with scratch_folder() as folder:
        (folder / "document.pdf").write_text("private")
        kept.append(folder)
        raise LookupError


def test_nothing_is_left_however_the_block_ends(place: Path) -> None:
    kept: list[Path] = []
    with pytest.raises(LookupError):
        use_and_fail(kept)
    assert not kept[0].exists()
    assert list(place.iterdir()) == []


def test_other_users_cannot_look_in(place: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == place
        assert place.stat().st_mode & 0o777 == 0o700


def test_what_the_dead_have_left_goes_and_what_the_living_have_stays(place: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        begun = f"{psutil.Process(living.pid).create_time():.2f}"
        names = {
            f"{living.pid}-{begun}": True,
            f"{living.pid}-1.00": False,  # of another process with that number
            "999999999-1.00": False,
            "nonsense": False,
        }
        for name in names:
            (place / name / "inner").mkdir(parents=True)
        place.chmod(0o700)
        with scratch_folder() as folder:
            assert {name: (place / name).exists() for name in names} == names
            assert folder.is_dir()
        living.kill()


def test_a_folder_of_somebody_elses_is_not_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.mkdir()
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    place.rename(place.with_name(f"argosy-ocr-{mine + 1}"))
    with pytest.raises(PermissionError), scratch_folder():
        pass
