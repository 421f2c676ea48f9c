"""What a process of the sandbox can get hold of: nothing that its worker knows."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from libs.common.errors import ArgosyError
from libs.common.sandbox.sandbox import Limits, Refusals, Sandbox
from libs.common.sandbox.seccomp import network_is_closed
from tests.polling import until

KILL_THE_SERVER = """
import asyncio, multiprocessing.forkserver as server, os, signal
from libs.common import config
from libs.common.errors import ArgosyError
from libs.common.sandbox import Limits, Refusals, Sandbox
from tests.unit.libs.common.sandbox.test_sandbox import environment

async def main():
    refusals = Refusals(ArgosyError, ArgosyError, ArgosyError)
    sandbox = Sandbox(Limits(1024**3, 30.0), refusals, package="tests", preload=[])
    config.forget_secrets()  # as a worker does when it has read everything
    os.kill(server._forkserver._forkserver_pid, signal.SIGKILL)
    os.waitid(os.P_PID, server._forkserver._forkserver_pid, os.WEXITED | os.WNOWAIT)
    assert b"SECRET" not in (await sandbox.run(environment))[1]

asyncio.run(main())
"""


def environment() -> tuple[dict[str, str], bytes]:
    """As the process was started with, and as it is."""
    return dict(os.environ), Path("/proc/self/environ").read_bytes()


async def test_secrets_of_the_worker_do_not_reach_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:canary@localhost/argosy")
    refusals = Refusals(ArgosyError, ArgosyError, ArgosyError)
    sandbox = Sandbox(Limits(1024**3, 30.0), refusals, package="tests", preload=[])
    found, begun_with = await sandbox.run(environment)
    assert "DATABASE_URL" not in found
    assert found["PATH"] == os.environ["PATH"]
    assert b"DATABASE_URL" not in begun_with
    assert os.environ["DATABASE_URL"].endswith("canary@localhost/argosy")


def test_nor_when_its_server_dies_and_another_is_started() -> None:
    command = [sys.executable, "-c", KILL_THE_SERVER]
    subprocess.run(command, env={**os.environ, "SECRET": "canary"}, check=True)


T = TypeVar("T")


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


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """With a gigabyte, and all the time of the world."""
    return Sandbox(Limits(1024**3, 60.0), Refusals(TooLong, TooLarge, Crashed), package="tests", preload=[])


async def test_a_function_gets_its_arguments_and_its_result_comes_back(sandbox: Sandbox) -> None:
    assert await sandbox.run(answer, 7, folder="a/b") == Answer(7, Path("a/b"))


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (refuse, Refused, "Because."),
        (fail, Crashed, "ValueError: a bug"),
        (take_memory, TooLarge, "too much memory"),
        (die, Crashed, "It died."),
        (answer_with_something_foreign, Crashed, "It died."),
        (answer_at_length, Crashed, "It died."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_goes_wrong_is_an_error_of_the_services(
    sandbox: Sandbox, function: Callable[[], object], error: type[ArgosyError], said: str
) -> None:
    with pytest.raises(error, match=said):
        await sandbox.run(function)


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


async def streamed(results: AsyncGenerator[list[T], None], into: list[T]) -> None:
    async for some in results:
        into += some


async def test_results_come_in_order_as_they_are_made(sandbox: Sandbox) -> None:
    found = list[Answer]()
    await streamed(sandbox.stream(count_to, 300, object), found)
    assert [one.number for one in found] == list(range(300))


@pytest.mark.parametrize(
    ("end", "error"), [(refuse, Refused), (fail, Crashed), (take_memory, TooLarge), (die, Crashed)]
)
async def test_what_was_made_before_an_error_is_kept(
    sandbox: Sandbox, end: Callable[[], object], error: type[ArgosyError]
) -> None:
    found = list[Answer]()
    with pytest.raises(error):
        await streamed(sandbox.stream(count_to, 100, end), found)
    assert len(found) == 100


async def test_each_result_has_the_whole_time(sandbox: Sandbox) -> None:
    found = list[Answer]()
    with pytest.raises(TooLong):
        await streamed(sandbox.lasting(0.02).stream(count_to, 5, never_end), found)
    assert len(found) == 5


async def test_each_result_has_the_whole_size(sandbox: Sandbox) -> None:
    found = list[str]()
    with pytest.raises(Crashed):
        await streamed(sandbox.stream(count_long_texts, 9 * 1024**2, 9 * 1024**2, 17 * 1024**2, 1), found)
    assert len(found) == 2


async def test_a_process_that_has_used_its_time_leaves_the_rest_to_another(sandbox: Sandbox) -> None:
    found = list[int]()
    await streamed(sandbox.lasting(0.01).stream(count_slowly, 100, 0.25), found)  # 0.6 s
    assert found in ([0, 1], [0, 1, 2]), "its start takes a little too"


async def test_a_process_that_takes_too_long_is_ended(sandbox: Sandbox) -> None:
    with pytest.raises(TooLong, match=r"longer than 0\.06 s"):
        await sandbox.lasting(0.001).run(never_end)
    assert await sandbox.run(answer, 1, folder="."), "the one that it was made of takes as long as before"


async def test_a_process_that_works_all_the_time_is_ended_at_once(sandbox: Sandbox) -> None:
    with pytest.raises(TooLong):
        await sandbox.lasting(0.005).run(work_for_ever)


async def test_a_process_that_gets_no_cpu_may_take_longer(sandbox: Sandbox) -> None:
    assert await sandbox.lasting(0.01).run(answer_later, 0.6 * 1.5) == Answer(7, Path())


async def test_whoever_is_cancelled_leaves_no_process_behind(sandbox: Sandbox) -> None:
    waiting = asyncio.create_task(sandbox.run(never_end))

    async def begun() -> bool:
        return bool(_processes())

    await until(begun)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not _processes()


async def test_what_a_process_has_started_ends_with_it(sandbox: Sandbox, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    await sandbox.run(leave_a_child_behind, str(pid_file))

    async def gone() -> bool:
        status = Path(f"/proc/{pid_file.read_text()}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"

    await until(gone)


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
async def test_it_has_no_network(sandbox: Sandbox) -> None:
    assert await sandbox.run(open_a_socket)


def _processes() -> list[multiprocessing.process.BaseProcess]:
    """Of sandboxes, that have not been buried."""
    return multiprocessing.active_children()
