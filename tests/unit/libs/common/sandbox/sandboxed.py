"""What the tests run in a sandbox. A sandboxed process imports this module, so it imports little itself."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from libs.common.errors import ArgosyError
from libs.common.sandbox.launcher import run_program
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


class Filled(ArgosyError):
    """It wrote too much."""


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
    os.abort()


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


def write_again_and_again(folder: str, *, unlinked: bool) -> None:
    """Into one file after the other; or into files without a name."""
    kept = list[int]()
    for number in range(100_000):
        path = Path(folder, str(number))
        opened = os.open(path, os.O_WRONLY | os.O_CREAT)
        if unlinked:
            path.unlink()
        os.write(opened, bytes(1024**2))
        kept.append(opened)
        time.sleep(0.001)
        if len(kept) > 100:
            os.close(kept.pop(0))


def write_one_large_file(folder: str) -> None:
    Path(folder, "large").write_bytes(bytes(64 * 1024**2))


def launch(*command: str) -> str:
    return run_program(command).output


def launch_in_vain(*command: str) -> str:
    try:
        return run_program(command).output
    except OSError as error:
        return str(error)


def launch_a_shell_that_forks(*command: str) -> str:
    return run_program(command).errors


def start_a_thread() -> str:
    try:
        thread = threading.Thread(target=network_is_closed)
        thread.start()
    except RuntimeError as refused:
        return str(refused)
    thread.join()
    return "ended"


def fork_in_vain() -> bool:
    try:
        os.fork()
    except PermissionError:
        return True
    return False


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
