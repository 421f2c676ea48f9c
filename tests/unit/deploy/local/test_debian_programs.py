"""A program is found on the PATH or in Debian's package; where neither is, the user is told what to do."""

import os
from pathlib import Path

import pytest

from deploy.local import debian_programs
from deploy.local.errors import CannotRun

APT_GET = """#!/bin/sh
echo "$*" >> "$0.calls"
if [ "$1" = update ]; then : > "$0.lists"; exit; fi
[ -e "$0.lists" ] && : > prometheus.deb
"""
DPKG_DEB = """#!/bin/sh
mkdir -p "$3/usr/bin" && : > "$3/usr/bin/promtool"
"""


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that there is on this machine: what a test adds."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "mkdir").symlink_to("/bin/mkdir")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(debian_programs, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return folder


def add(folder: Path, name: str, script: str = "#!/bin/sh\n") -> Path:
    path = folder / name
    path.write_text(script)
    path.chmod(0o755)
    return path


def test_what_is_on_the_path_is_taken(programs: Path) -> None:
    program = add(programs, "promtool")
    assert debian_programs.find("promtool") == str(program)


def test_debians_package_is_unpacked_once_and_needs_no_root(programs: Path, tmp_path: Path) -> None:
    apt_get = add(programs, "apt-get", APT_GET)
    add(programs, "dpkg-deb", DPKG_DEB)
    Path(f"{apt_get}.lists").touch()
    for _ in range(2):
        assert debian_programs.find("promtool") == str(tmp_path / "cache/prometheus/usr/bin/promtool")
    assert Path(f"{apt_get}.calls").read_text().splitlines() == ["download -q prometheus"]


def test_root_on_a_fresh_machine_has_the_lists_of_packages_read_first(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt_get = add(programs, "apt-get", APT_GET)
    add(programs, "dpkg-deb", DPKG_DEB)
    with pytest.raises(CannotRun, match="sudo apt-get install prometheus"):
        debian_programs.find("promtool")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert debian_programs.find("promtool")
    assert "update -q" in Path(f"{apt_get}.calls").read_text()


def test_where_there_is_no_apt_the_user_is_told_what_to_do() -> None:
    with pytest.raises(CannotRun, match="sudo apt-get install prometheus"):
        debian_programs.find("promtool")
