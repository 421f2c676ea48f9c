"""A folder for customers' documents: what a killed process left there is removed by the next."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is there while the block runs, and closed to other users."""
    place = Path(tempfile.gettempdir()) / f"argosy-ocr-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise PermissionError(f"{place} belongs to somebody else.")
    for left in place.iterdir():
        if not _lives(left.name):
            shutil.rmtree(left, ignore_errors=True)
    folder = place / f"{os.getpid()}-{psutil.Process().create_time():.2f}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lives(name: str) -> bool:
    """Whether the process that made the folder `name` is still there; its number may be another's by now."""
    number, _, begun = name.partition("-")
    try:
        return f"{psutil.Process(int(number)).create_time():.2f}" == begun
    except (psutil.NoSuchProcess, ValueError):
        return False
