"""Every version of Landlock that this kernel can stand in for keeps a process to its files."""

import subprocess
import sys
from pathlib import Path

import pytest

from libs.common.sandbox import landlock

pytestmark = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")

AS_AN_OLDER_KERNEL = """
import os, sys
from pathlib import Path
from libs.common.sandbox import landlock, seccomp
abi, folder = int(sys.argv[1]), Path(sys.argv[2])
seccomp.prctl(seccomp.PR_SET_NO_NEW_PRIVS, 1)
rules = [(folder / "source", landlock.READ), (folder / "scratch", landlock.WRITE)]
landlock.restrict([*rules, (folder / "none", landlock.READ)], abi)
seccomp.refuse_system_calls()
assert (folder / "source").read_text() == "source"
(folder / "scratch" / "a").write_text("a")
(folder / "scratch" / "a").rename(folder / "scratch" / "b")
for name, attempt in {
    "read": (folder / "secret").read_text,
    "list": lambda: os.listdir(folder),
    "write": lambda: (folder / "source").write_text(""),
    "empty": lambda: os.open(folder / "source", os.O_RDONLY | os.O_TRUNC),
    "truncate": lambda: os.truncate(folder / "source", 0),
    "take": lambda: (folder / "secret").rename(folder / "scratch" / "secret"),
    "link": lambda: os.link(folder / "secret", folder / "scratch" / "linked"),
    "symlink": lambda: (folder / "scratch" / "link").symlink_to(folder / "secret"),
}.items():
    try:
        attempt()
    except OSError:
        continue
    sys.exit(name)
"""


@pytest.mark.parametrize("abi", range(1, landlock.version() + 1))
def test_a_process_is_kept_to_its_files(abi: int, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("source")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "scratch").mkdir()
    command = [sys.executable, "-c", AS_AN_OLDER_KERNEL, str(abi), str(tmp_path)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["b"]
    assert (tmp_path / "source").read_text() == "source"
