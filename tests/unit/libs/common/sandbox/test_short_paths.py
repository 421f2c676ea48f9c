"""A sandbox starts wherever temporary files are to go, and leaves nothing there."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from libs.common.sandbox.short_paths import SOCKET_PATH_AT_MOST, short_temporary_paths

STARTED = """
import asyncio, sys
from libs.common.sandbox import Limits, Refusals, Sandbox
from libs.common.sandbox.seccomp import hide_process_memory
from tests.unit.libs.common.sandbox import sandboxed

hide_process_memory()
refusals = Refusals(sandboxed.TooLong, sandboxed.TooLarge, sandboxed.Crashed)
sandbox = Sandbox(Limits(1 << 30, 30.0), refusals, package="tests.unit.libs.common.sandbox", preload=[])
print(asyncio.run(sandbox.run(abs, -7)))
"""


@pytest.mark.parametrize("name", ["short", "l" * 200, "ü" * 60])
def test_a_sandbox_starts(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", STARTED],
        env=os.environ | {"TMPDIR": str(folder), "SANDBOX_CONFINEMENT": "if-available"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.strip().endswith("7"), told.stderr
    assert list(folder.iterdir()) == []


def test_temporary_files_have_short_paths_within_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("l" * 200)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with short_temporary_paths():
        made = Path(tempfile.mkdtemp())
    assert len(bytes(made)) < SOCKET_PATH_AT_MOST
    assert [path.name for path in folder.iterdir()] == [made.name]
    assert tempfile.gettempdir() == str(folder)
