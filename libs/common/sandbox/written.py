"""How much a sandboxed process has written: into its folder, and into files there that have no name any more."""

import os
from contextlib import suppress
from pathlib import Path

PLAINLY_WRITTEN_TIMES = 4
"""A process may write so many times what its folder may hold: it writes some files several times."""


def exceeds(pid: int, folder: Path, at_most: int) -> bool:
    """Whether the files in `folder` take more than `at_most` bytes, or a process has written four times that.

    The second is about files that were deleted while open. What a process writes is counted by the kernel; ways to
    write that it does not count are refused (seccomp.py).
    """
    in_files = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                in_files += entry.stat(follow_symlinks=False).st_blocks * 512
    return in_files > at_most or any(
        _bytes_written(one) > PLAINLY_WRITTEN_TIMES * at_most for one in _with_descendants(pid)
    )


def _with_descendants(pid: int) -> list[int]:
    found = [pid]
    for one in found:  # grows meanwhile
        with suppress(OSError):  # it has ended, or this system does not tell
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def _bytes_written(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            name, _, number = line.partition(": ")
            if name == "wchar":
                return int(number)
    return 0
