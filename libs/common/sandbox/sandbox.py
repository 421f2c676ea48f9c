"""Runs a function on untrusted input in a separate process: limited memory, time and files, no network.

The processes are forked from a fork server that has loaded the libraries, so each costs only milliseconds. What
they may use is in process.py. Each leads its own process group, which nobody can leave. The whole group is killed
when the function has ended, when it takes too long or writes too much, or when the caller is cancelled; and by the
kernel when the worker dies.
"""

import asyncio
import io
import math
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from copy import copy
from dataclasses import is_dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from libs.common import log
from libs.common.config import without_secrets
from libs.common.errors import ArgosyError
from libs.common.sandbox import confinement, process, written
from libs.common.sandbox.confinement import Reach
from libs.common.sandbox.process import FORK_SERVER, TURNS_AT_MOST, Limits, Orders, Refusals
from libs.common.sandbox.short_paths import short_temporary_paths

P = ParamSpec("P")
T = TypeVar("T")

USED_UP_FROM = 0.9
"""The share of its time limit that a process has had as CPU when its time is over. A little is not its fault; it
is lost to others even where it has a CPU of its own."""
TOGETHER_BYTES = 1024**2
NOTE_AT_MOST = 2_000
"""Characters that are logged of what a process says of its error."""
"""No more results are received together when they have so many bytes."""
UNMEASURED_S = 0.05
"""A result that comes within this time costs no look at the CPU that the process has had."""
LOOK_S = 0.25
"""How often it is looked at what a process has written, if it may write."""
GONE_WITHIN_S = 1.0
"""It is waited for so long that killed processes are gone; that takes milliseconds."""
PATH = type(Path())
"""How a path is pickled: Python 3.13 names another module than those before and after it."""
Message = tuple[bool, Any]
"""What a process sends: `(True, result)` for each result, then `(False, error)`, or `(False, None)` at its end."""

logger = log.get("sandbox")


class Sandbox:
    """Starts sandboxed processes. They cannot reach the open files, sockets and secrets of this process.

    They can read the interpreter, its libraries, and the code of `package`, the service's package, and no other
    file unless `reading`, `writing` or `starting` says so. Their results may contain only dataclasses and errors
    defined in `package`, and paths. `preload`: the modules that the fork server loads in advance.
    """

    def __init__(self, limits: Limits, refusals: Refusals, *, package: str, preload: list[str]) -> None:
        self._limits = limits
        self._refusals = refusals
        self._package = package
        self._reach = Reach(reads=confinement.code_of(package))
        self._context = multiprocessing.get_context("forkserver")
        # Without __name__ each process would load this module again.
        self._context.set_forkserver_preload([FORK_SERVER, __name__, *preload])
        # A process could read the initial environment, whatever is removed later.
        with without_secrets(), short_temporary_paths():
            multiprocessing.forkserver.ensure_running()
        if missing := confinement.what_is_missing():
            logger.warning("sandbox.open", why=missing)

    def lasting(self, times: float) -> "Sandbox":
        """A copy of this sandbox whose processes may take `times` as long."""
        other = copy(self)
        other._limits = replace(self._limits, timeout_s=self._limits.timeout_s * times)
        return other

    def reading(self, *paths: Path) -> "Sandbox":
        """A copy of this sandbox whose processes may also read these files, and folders with all in them."""
        return self._reaching(replace(self._reach, reads=(*self._reach.reads, *paths)))

    def writing(self, folder: Path) -> "Sandbox":
        """A copy of this sandbox whose processes may read and write files in `folder`, but make no folders."""
        return self._reaching(replace(self._reach, folder=folder))

    def starting(self, *programs: Path) -> "Sandbox":
        """A copy of this sandbox whose processes may run these programs (launcher.py), which reach the same."""
        return self._reaching(replace(self._reach, programs=programs))

    def threaded(self) -> "Sandbox":
        """A copy of this sandbox whose processes may have threads, for libraries that cannot do without."""
        return self._reaching(replace(self._reach, threads=True))

    def _reaching(self, reach: Reach) -> "Sandbox":
        other = copy(self)
        other._reach = reach
        return other

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in a sandboxed process and return its result.

        Result and arguments must be picklable, and the result no larger than the limits allow. Raises the
        function's error if that is an ArgosyError, otherwise one of the Refusals.
        """
        async with aclosing(self.stream(_once, partial(function, *args, **kwargs))) as results:
            async for (result,) in results:
                return result
        raise self._refusals.crashed

    async def stream(
        self, function: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[list[T], None]:
        """Run a generator function in a sandboxed process, and yield its results in order, as many as are there.

        The limits on time and size are for each result. The errors are those of `run`, and are raised after all
        results before them: so they are about the next result. A process that has used the time limit as CPU ends
        early, after a result: call again for the others.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        orders = Orders(self._limits, self._refusals, self._reach)
        child = self._context.Process(
            target=process.main, args=(sender, orders, function, args, kwargs), daemon=True
        )
        try:
            await asyncio.to_thread(child.start)  # the first one waits until the fork server has loaded
            sender.close()
            goes_on, error = True, None
            while goes_on:
                messages = await self._next(child.pid or 0, receiver)
                if results := [value for is_result, value in messages if is_result]:
                    yield results
                goes_on, error = messages.pop()
            if error is not None:
                raise error
        finally:
            error = None  # it refers to this frame, and so to the arguments
            try:
                await asyncio.to_thread(_kill, child)
            finally:  # not earlier: the thread that reads the results gets EOF when the process is gone
                receiver.close()

    async def _next(self, pid: int, receiver: Connection) -> list[Message]:
        """Wait for a message, and return all that have arrived. Raises Refusals.too_long and Refusals.filled."""
        received = asyncio.create_task(self._received(receiver))
        try:
            if await _done(received, UNMEASURED_S):
                return received.result()
            used_before_s = _cpu_s(pid)
            for _ in range(TURNS_AT_MOST):
                if await self._done_within_folder(received, pid):
                    return received.result()
                if _cpu_s(pid) - used_before_s >= USED_UP_FROM * self._limits.timeout_s:
                    break
            raise self._refusals.too_long(f"It took longer than {self._limits.timeout_s:g} s.")
        finally:
            received.cancel()

    async def _done_within_folder(self, received: "asyncio.Task[list[Message]]", pid: int) -> bool:
        """Wait for the time limit. Whether there is a message. Raises Refusals.filled."""
        folder, at_most = self._reach.folder, self._limits.folder_bytes
        if folder is None:
            return await _done(received, self._limits.timeout_s)
        until_s = time.monotonic() + self._limits.timeout_s
        while (left_s := until_s - time.monotonic()) > 0:
            if await _done(received, min(LOOK_S, left_s)):
                return True
            if await asyncio.to_thread(written.exceeds, pid, folder, at_most):
                raise self._refusals.filled(f"It wrote more than {at_most // 1024**2} MB.")
        return False

    async def _received(self, receiver: Connection) -> list[Message]:
        await _readable(receiver)
        # In a thread: a compromised process might send half a result and block the reader.
        return await asyncio.to_thread(self._receive, receiver)

    def _receive(self, receiver: Connection) -> list[Message]:
        """Receive at least one message, and no more after the last result. Blocks."""
        os.set_blocking(receiver.fileno(), True)  # uvloop made it non-blocking, and large results come in parts
        messages, size = list[Message](), 0
        try:
            while not messages or (messages[-1][0] and size < TOGETHER_BYTES and receiver.poll()):
                content = receiver.recv_bytes(self._limits.result_bytes)
                messages.append(_ResultUnpickler(io.BytesIO(content), self._package).load())
                if notes := getattr(messages[-1][1], "__notes__", None):
                    logger.error("sandbox.bug", error=str(notes)[:NOTE_AT_MOST])
                size += len(content)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            crashed = self._refusals.crashed()
            crashed.__cause__ = error
            messages.append((False, crashed))
        return messages


class _ResultUnpickler(pickle.Unpickler):
    """Unpickles only what the service's functions return: the author of the input may have forged the result."""

    def __init__(self, content: io.BytesIO, package: str) -> None:
        super().__init__(content)
        self._package = package

    def find_class(self, module: str, name: str) -> Any:
        """Return a dataclass or an error of the service, or the path class. Raises UnpicklingError."""
        if (module, name) == (PATH.__module__, PATH.__name__):
            return PATH
        found = getattr(sys.modules.get(module), name, None) if module.startswith(f"{self._package}.") else None
        if isinstance(found, type) and (is_dataclass(found) or issubclass(found, ArgosyError)):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a result")


async def _done(task: "asyncio.Task[Any]", within_s: float) -> bool:
    done, _ = await asyncio.wait({task}, timeout=within_s)
    return bool(done)


async def _readable(receiver: Connection) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(receiver.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(receiver.fileno())


def _cpu_s(group: int | None) -> float:
    """Seconds of CPU that the process group has had. Where the system does not tell (no /proc): infinity."""
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))  # in user and in system mode, its own and its children's
    return ticks / os.sysconf("SC_CLK_TCK") if Path("/proc/self/stat").exists() else math.inf


def _kill(child: multiprocessing.process.BaseProcess) -> None:
    """Kill the process and all that it has started, and wait until they are gone."""
    if child.pid is None:
        return
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()  # in case it had not created its process group yet
    child.join()
    until = time.monotonic() + GONE_WITHIN_S
    with suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(child.pid, 0)
            time.sleep(0.001)


def _once(function: Callable[[], T]) -> Iterator[T]:
    yield function()
