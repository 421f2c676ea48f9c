"""A temporary folder for customers' documents. A new process removes the folders of killed ones."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a folder, readable by this user only, and remove it after the block. Raises PermissionError."""
    parent = Path(tempfile.gettempdir()) / f"argosy-ocr-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    if parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{parent} belongs to another user.")
    for leftover in parent.iterdir():
        if not _is_alive(leftover.name):
            shutil.rmtree(leftover, ignore_errors=True)
    folder = parent / f"{os.getpid()}-{psutil.Process().create_time():.2f}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(name: str) -> bool:
    """Whether the process that created folder `name` is alive. The start time detects a reused process id."""
    pid, _, started = name.partition("-")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == started
    except (psutil.NoSuchProcess, ValueError):
        return False
