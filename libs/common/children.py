"""The CPU time of the processes beneath this one, such as those that read documents: its own metrics leave it out.

Linux tells of each process what it has used, and what those have used that it has started and that have ended.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROCESSES = Path("/proc")

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Of all processes that this one has started, directly or not, whether they still run or not."""
    me = os.getpid()
    ticks = _ended_children(me) + sum(_own(pid) + _ended_children(pid) for pid in _beneath(me))
    return ticks / _TICKS


def _beneath(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in (PROCESSES / str(pid) / "task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _beneath(int(child))


def _own(pid: int) -> int:
    return sum(_times(pid)[:2])


def _ended_children(pid: int) -> int:
    return sum(_times(pid)[2:])


def _times(pid: int) -> list[int]:
    """utime, stime, cutime and cstime of proc(5); zeros if the process has ended meanwhile."""
    try:
        fields = (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [0, 0, 0, 0]
    return [int(field) for field in fields[11:15]]
