"""What a sandboxed process does: it gives up everything but its limits and its reach, and runs the function."""

import errno
import gc
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from libs.common.errors import ArgosyError
from libs.common.sandbox import confinement, launcher
from libs.common.sandbox.confinement import Reach

FORK_SERVER = "libs.common.sandbox.fork_server"
"""What the fork server loads first, and no other process: it would have to bury the orphans of others."""
TURNS_AT_MOST = 5
"""A process that gets little of the CPU may take this many times its limit: the machine is slow, not the input."""
OPEN_FILES_AT_MOST = 1024
RESULT_BYTES_AT_MOST = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one sandboxed process."""

    memory_bytes: int
    timeout_s: float
    """Of CPU, looked at after each such time by the clock; and up to TURNS_AT_MOST times that by the clock."""
    folder_bytes: int = 4 * 1024**3
    """What the files in its folder may take, all together."""
    result_bytes: int = RESULT_BYTES_AT_MOST
    """The size of one result."""
    niceness: int = 0
    """How much it stands back when others want the CPU: see nice(2)."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """The errors to raise for a process that took too long, needed too much memory, crashed, or wrote too much."""

    too_long: type[ArgosyError]
    too_large: type[ArgosyError]
    crashed: type[ArgosyError]
    filled: type[ArgosyError] = ArgosyError


@dataclass(frozen=True, slots=True)
class Orders:
    """Everything that a process is told, beside its function."""

    limits: Limits
    refusals: Refusals
    reach: Reach


def main(
    sender: Connection,
    orders: Orders,
    function: Callable[..., Iterable[object]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    """Confine this process, and send `(True, result)` for each result, then `(False, error)` or `(False, None)`.

    It never returns: nothing of the fork server's is finalized here.
    """
    gc.freeze()  # a collection would write into all of the fork server's objects, which copies them
    try:
        error: ArgosyError | None
        try:
            _confine(sender, orders)
        except OSError as failed:
            error = orders.refusals.crashed(f"It cannot be confined: {failed}")
        else:
            error = _sent(sender, orders, function, args, kwargs)
        sender.send((False, error))
    finally:
        os._exit(0)


def _confine(sender: Connection, orders: Orders) -> None:
    os.setsid()
    if sys.platform == "linux":
        launcher.die_with(sys.modules[FORK_SERVER].PID)
    confinement.leave_open_files(sender.fileno())
    _limit(orders.limits)
    confinement.leave_files(orders.reach)
    if orders.reach.programs:
        launcher.start(orders.reach.programs)
    confinement.leave_system_calls(but_threads=orders.reach.threads)


def _limit(limits: Limits) -> None:
    os.nice(limits.niceness)
    cpu_s = math.ceil(limits.timeout_s * TURNS_AT_MOST) + 1
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.folder_bytes, limits.folder_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    open_files = min(OPEN_FILES_AT_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))


def _sent(
    sender: Connection,
    orders: Orders,
    function: Callable[..., Iterable[object]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> ArgosyError | None:
    """Send all results, and return the error of the function."""
    refusals = orders.refusals
    try:
        for result in function(*args, **kwargs):
            sender.send((True, result))
            if time.process_time() >= orders.limits.timeout_s:
                break
    except ArgosyError as refused:
        return refused
    except MemoryError:
        return refusals.too_large()
    except Exception as failed:
        if isinstance(failed, OSError) and failed.errno == errno.EFBIG:
            return refusals.filled()
        crashed = refusals.crashed()
        crashed.add_note(f"{type(failed).__name__}: {failed}")  # for our log
        return crashed
    return None
