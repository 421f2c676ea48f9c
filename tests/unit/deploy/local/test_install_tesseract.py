"""Tesseract is installed where that is possible, and asked for where it is not."""

import os
from pathlib import Path

import pytest

from deploy.local import install_tesseract
from deploy.local.servers import CannotRun

APT_GET = """#!/bin/sh
echo "$DEBIAN_FRONTEND: $*" >> "$0.calls"
[ "$1" != "$(cat "$0.fails" 2>/dev/null)" ]
"""


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that there is on this machine: a shell's own commands, and what a test adds."""
    (tmp_path / "cat").symlink_to("/bin/cat")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def add(folder: Path, name: str, script: str = "#!/bin/sh\n") -> None:
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


def calls(folder: Path) -> list[str]:
    file = folder / "apt-get.calls"
    return file.read_text().splitlines() if file.exists() else []


def test_where_it_is_nothing_is_installed(programs: Path) -> None:
    add(programs, "tesseract")
    add(programs, "apt-get", APT_GET)
    install_tesseract.ensure()
    assert calls(programs) == []


def test_root_has_it_installed_without_being_asked_anything(programs: Path) -> None:
    add(programs, "apt-get", APT_GET)
    install_tesseract.ensure()
    assert calls(programs) == [
        "noninteractive: update -q",
        "noninteractive: install -q -y tesseract-ocr",
    ]


@pytest.mark.parametrize("step", ["update", "install"])
def test_an_installation_that_fails_is_told(programs: Path, step: str) -> None:
    add(programs, "apt-get", APT_GET)
    (programs / "apt-get.fails").write_text(step)
    with pytest.raises(CannotRun, match=f"`apt-get {step} .*` failed; install tesseract-ocr by hand"):
        install_tesseract.ensure()
    assert calls(programs)[-1].startswith(f"noninteractive: {step}"), "and nothing follows it"


@pytest.mark.parametrize(("user", "has_apt"), [(1000, True), (0, False)])
def test_others_are_told_what_to_do(
    programs: Path, monkeypatch: pytest.MonkeyPatch, user: int, has_apt: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    if has_apt:
        add(programs, "apt-get", APT_GET)
    with pytest.raises(CannotRun, match="sudo apt-get install tesseract-ocr"):
        install_tesseract.ensure()
    assert calls(programs) == []
