"""What a process of the sandbox can get hold of: nothing that its worker knows."""

import asyncio
import itertools
import multiprocessing
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from libs.common.errors import ArgosyError
from libs.common.sandbox import Limits, Refusals, Sandbox
from libs.common.sandbox.process import RESULT_BYTES_AT_MOST
from tests.polling import until
from tests.unit.libs.common.sandbox.sandboxed import (
    Answer,
    Crashed,
    Filled,
    Refused,
    TooLarge,
    TooLong,
    answer,
    answer_at_length,
    answer_later,
    answer_with_something_foreign,
    count_long_texts,
    count_slowly,
    count_to,
    die,
    environment,
    fail,
    fork_in_vain,
    launch,
    launch_a_shell_that_forks,
    launch_in_vain,
    never_end,
    open_a_socket,
    refuse,
    start_a_thread,
    take_memory,
    work_for_ever,
    write_again_and_again,
    write_one_large_file,
)

KILL_THE_SERVER = """
import asyncio, multiprocessing.forkserver as server, os, signal
from pathlib import Path
from libs.common import config
from libs.common.errors import ArgosyError
from libs.common.sandbox import Limits, Refusals, Sandbox
from tests.unit.libs.common.sandbox.sandboxed import environment

async def main():
    refusals = Refusals(ArgosyError, ArgosyError, ArgosyError)
    sandbox = Sandbox(Limits(1024**3, 30.0), refusals, package="tests", preload=[])
    config.forget_secrets()  # as a worker does when it has read everything
    os.kill(server._forkserver._forkserver_pid, signal.SIGKILL)
    os.waitid(os.P_PID, server._forkserver._forkserver_pid, os.WEXITED | os.WNOWAIT)
    assert b"SECRET" not in (await sandbox.reading(Path("/proc")).run(environment))[1]

asyncio.run(main())
"""


async def test_secrets_of_the_worker_do_not_reach_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:canary@localhost/argosy")
    refusals = Refusals(ArgosyError, ArgosyError, ArgosyError)
    sandbox = Sandbox(Limits(1024**3, 30.0), refusals, package="tests", preload=[])
    found, begun_with = await sandbox.reading(Path("/proc")).run(environment)
    assert "DATABASE_URL" not in found
    assert found["PATH"] == os.environ["PATH"]
    assert b"DATABASE_URL" not in begun_with
    assert os.environ["DATABASE_URL"].endswith("canary@localhost/argosy")


def test_nor_when_its_server_dies_and_another_is_started() -> None:
    command = [sys.executable, "-c", KILL_THE_SERVER]
    subprocess.run(command, env={**os.environ, "SECRET": "canary"}, check=True)


T = TypeVar("T")


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """With a gigabyte, and all the time of the world."""
    return Sandbox(
        Limits(1024**3, 60.0), Refusals(TooLong, TooLarge, Crashed, Filled), package="tests", preload=[]
    )


async def test_a_function_gets_its_arguments_and_its_result_comes_back(sandbox: Sandbox) -> None:
    assert await sandbox.run(answer, 7, folder="a/b") == Answer(7, Path("a/b"))


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (refuse, Refused, "Because."),
        (fail, Crashed, "It died."),
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


async def test_a_result_may_be_as_large_as_the_limits_say() -> None:
    refusals = Refusals(TooLong, TooLarge, Crashed)
    for result_bytes, fits in ((RESULT_BYTES_AT_MOST * 2, True), (1024, False)):
        limits = Limits(1024**3, 60.0, result_bytes=result_bytes)
        sandbox = Sandbox(limits, refusals, package="tests", preload=[])
        if fits:
            assert len(await sandbox.run(bytes, RESULT_BYTES_AT_MOST + 1)) == RESULT_BYTES_AT_MOST + 1
        else:
            with pytest.raises(Crashed):
                await sandbox.run(bytes, 2048)


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
    await streamed(sandbox.lasting(0.05).stream(count_slowly, 100, 1.25), found)  # 3 s
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


NUMBERS = itertools.count()
SLEEP, SHELL = Path("/bin/sleep"), Path("/bin/sh")


def running(*command: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == list(command)]


def unique_sleep() -> tuple[str, str]:
    return str(SLEEP), f"{10**6 + next(NUMBERS)}.{os.getpid()}"


async def test_what_a_process_has_started_ends_with_it(sandbox: Sandbox) -> None:
    command = unique_sleep()
    waiting = asyncio.create_task(sandbox.starting(SLEEP).run(launch, *command))

    async def begun() -> bool:
        return bool(running(*command))

    await until(begun)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not running(*command), "it is gone when its sandbox is"


SLEEP_IN_A_SANDBOX = """
import asyncio, sys
from pathlib import Path
from libs.common.errors import ArgosyError
from libs.common.sandbox import Limits, Refusals, Sandbox
from tests.unit.libs.common.sandbox.sandboxed import launch

async def main():
    refusals = Refusals(ArgosyError, ArgosyError, ArgosyError)
    sandbox = Sandbox(Limits(1024**3, 600.0), refusals, package="tests.unit", preload=[])
    await sandbox.starting(Path(sys.argv[1])).run(launch, *sys.argv[1:])

asyncio.run(main())
"""


async def test_a_killed_worker_takes_everything_with_it() -> None:
    """Sandbox, launcher and program: whatever was started within is gone, though nobody was left to kill it."""
    command = unique_sleep()
    with subprocess.Popen([sys.executable, "-c", SLEEP_IN_A_SANDBOX, *command]) as worker:

        async def begun() -> bool:
            return bool(running(*command))

        await until(begun)
        within = psutil.Process(worker.pid).children(recursive=True)
        assert len(within) >= 4, "the resource tracker, the fork server, the process, its launcher, the program"
        worker.kill()

    async def gone() -> bool:
        return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in within)

    await until(gone)


async def test_only_the_programs_it_was_given_can_be_started(sandbox: Sandbox) -> None:
    assert await sandbox.starting(Path("/bin/echo")).run(launch, "/bin/echo", "hello") == "hello\n"
    assert "not to be started" in await sandbox.starting(Path("/bin/echo")).run(launch_in_vain, "/bin/ls", "/")
    assert "Permission denied" in await sandbox.run(launch_in_vain, "/bin/echo", "hello")


async def test_a_program_is_confined_as_its_process_is(sandbox: Sandbox, tmp_path: Path) -> None:
    command = (str(SHELL), "-c", "read line < /etc/passwd; (true); echo > " + str(tmp_path / "planted"))
    said = await sandbox.starting(SHELL).run(launch_a_shell_that_forks, *command)
    assert "cannot open /etc/passwd" in said
    assert "Cannot fork" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("unlinked", [False, True])
async def test_a_process_that_fills_its_folder_is_ended(tmp_path: Path, unlinked: bool) -> None:
    limits = Limits(1024**3, 600.0, 16 * 1024**2)
    filling = Sandbox(limits, Refusals(TooLong, TooLarge, Crashed, Filled), package="tests", preload=[])
    with pytest.raises(Filled, match="more than 16 MB"):
        await filling.writing(tmp_path).run(write_again_and_again, str(tmp_path), unlinked=unlinked)
    with pytest.raises(Filled):
        await filling.writing(tmp_path).run(write_one_large_file, str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
async def test_it_has_a_thread_only_where_it_is_said_and_never_a_process(sandbox: Sandbox) -> None:
    assert "can't start new thread" in await sandbox.run(start_a_thread)
    assert await sandbox.threaded().run(start_a_thread) == "ended"
    assert await sandbox.threaded().run(fork_in_vain)


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
async def test_it_has_no_network(sandbox: Sandbox) -> None:
    assert await sandbox.run(open_a_socket)


def _processes() -> list[multiprocessing.process.BaseProcess]:
    """Of sandboxes, that have not been buried."""
    return multiprocessing.active_children()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_who_imports_the_sandbox_does_not_take_orphans_in() -> None:
    """They would stay zombies for ever: only the fork server buries them."""
    code = "import ctypes, libs.common.sandbox; found = ctypes.c_int(-1);"
    code += "ctypes.CDLL(None).prctl(37, ctypes.byref(found)); print(found.value)"  # PR_GET_CHILD_SUBREAPER
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
