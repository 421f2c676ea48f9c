"""What the tests run in a sandbox. A sandboxed process imports this module, so it imports little itself."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from libs.common.errors import ArgosyError
from libs.common.sandbox.seccomp import network_is_closed


def environment() -> tuple[dict[str, str], bytes]:
    """As the process was started with, and as it is."""
    return dict(os.environ), Path("/proc/self/environ").read_bytes()


class Refused(ArgosyError):
    """It is not to be done."""


class TooLong(ArgosyError):
    """It took too long."""


class TooLarge(ArgosyError):
    """It needed too much memory."""


class Crashed(ArgosyError):
    """It died."""


@dataclass(frozen=True)
class Answer:
    """Something a service's function returns."""

    number: int
    path: Path


class Foreign:
    """Something it does not."""


def answer(number: int, *, folder: str) -> Answer:
    return Answer(number, Path(folder))


def refuse() -> None:
    raise Refused("Because.")


def fail() -> None:
    raise ValueError("a bug")


def take_memory() -> int:
    return len(bytearray(2 * 1024**3))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def answer_with_something_foreign() -> Foreign:
    return Foreign()


def answer_at_length() -> bytes:
    return bytes(17 * 1024**2)


def never_end() -> None:
    while True:
        signal.pause()


def work_for_ever() -> None:
    while True:
        pass


def answer_later(seconds: float) -> Answer:
    time.sleep(seconds)  # as a process that waits for its turn
    return Answer(7, Path())


def leave_a_child_behind(pid_file: str) -> None:
    child = os.fork()
    if child == 0:
        never_end()
    Path(pid_file).write_text(str(child))


def open_a_socket() -> bool:
    return network_is_closed()


def count_to(number: int, end: Callable[[], object]) -> Iterator[Answer]:
    for place in range(number):
        yield Answer(place, Path())
    end()


def count_long_texts(*lengths: int) -> Iterator[str]:
    for length in lengths:
        yield "x" * length


def count_slowly(number: int, cpu_s: float) -> Iterator[int]:
    for place in range(number):
        until_s = time.process_time() + cpu_s
        while time.process_time() < until_s:
            pass
        yield place
