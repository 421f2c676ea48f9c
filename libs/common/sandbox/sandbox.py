"""Runs a function on untrusted input in a separate process: limited memory, time and file size, no network.

The processes are forked from a fork server that has loaded the libraries, so each costs only milliseconds. Each
process leads its own process group. The whole group is killed when the function has ended, when it takes too long,
or when the caller is cancelled.
"""

import asyncio
import io
import math
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from copy import copy
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from libs.common.config import without_secrets
from libs.common.errors import ArgosyError
from libs.common.sandbox.seccomp import block_network

P = ParamSpec("P")
T = TypeVar("T")

FILE_BYTES_AT_MOST = 4 * 1024**3
TURNS_AT_MOST = 5
"""A process that gets little of the CPU may take this many times its limit: the machine is slow, not the input."""
USED_UP_FROM = 0.9
"""The share of its time limit that a process has had as CPU when its time is over. A little is not its fault; it
is lost to others even where it has a CPU of its own."""
RESULT_BYTES_AT_MOST = 16 * 1024**2
TOGETHER_BYTES = 1024**2
"""No more results are received together when they have so many bytes."""
UNMEASURED_S = 0.05
"""A result that comes within this time costs no look at the CPU that the process has had."""
Message = tuple[bool, Any]
"""What a process sends: `(True, result)` for each result, then `(False, error)`, or `(False, None)` at its end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one sandboxed process."""

    memory_bytes: int
    timeout_s: float
    """Of CPU, looked at after each such time by the clock; and up to TURNS_AT_MOST times that by the clock."""
    result_bytes: int = RESULT_BYTES_AT_MOST
    """The size of one result."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """The errors to raise for a process that took too long, needed too much memory, or crashed."""

    too_long: type[ArgosyError]
    too_large: type[ArgosyError]
    crashed: type[ArgosyError]


class Sandbox:
    """Starts sandboxed processes. They cannot reach the open files, sockets and secrets of this process.

    `package`: the service's package; results may contain only dataclasses and errors defined in it, and paths.
    `preload`: the modules that the fork server loads in advance.
    """

    def __init__(self, limits: Limits, refusals: Refusals, *, package: str, preload: list[str]) -> None:
        self._limits = limits
        self._refusals = refusals
        self._package = package
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            [__name__, *preload]
        )  # otherwise each process would load this module again
        with without_secrets():  # a process could read the initial environment, whatever is removed later
            multiprocessing.forkserver.ensure_running()

    def lasting(self, times: float) -> "Sandbox":
        """A copy of this sandbox whose processes may take `times` as long."""
        limits = replace(self._limits, timeout_s=self._limits.timeout_s * times)
        other = copy(self)
        other._limits = limits
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
        process = self._context.Process(
            target=_child, args=(sender, self._limits, self._refusals, function, args, kwargs), daemon=True
        )
        try:
            await asyncio.to_thread(process.start)  # the first one waits until the fork server has loaded
            sender.close()
            goes_on, error = True, None
            while goes_on:
                messages = await self._next(process.pid, receiver)
                if results := [value for is_result, value in messages if is_result]:
                    yield results
                goes_on, error = messages.pop()
            if error is not None:
                raise error
        finally:
            error = None  # it refers to this frame, and so to the arguments
            try:
                await asyncio.to_thread(_kill, process)
            finally:  # not earlier: the thread that reads the results gets EOF when the process is gone
                receiver.close()

    async def _next(self, group: int | None, receiver: Connection) -> list[Message]:
        """Wait for a message, and return all that have arrived. Raises Refusals.too_long."""
        received = asyncio.create_task(self._received(receiver))
        try:
            done, _ = await asyncio.wait({received}, timeout=UNMEASURED_S)
            if done:
                return received.result()
            used_before_s = _cpu_s(group)
            for _ in range(TURNS_AT_MOST):
                done, _ = await asyncio.wait({received}, timeout=self._limits.timeout_s)
                if done:
                    return received.result()
                if _cpu_s(group) - used_before_s >= USED_UP_FROM * self._limits.timeout_s:
                    break
            raise self._refusals.too_long(f"It took longer than {self._limits.timeout_s:g} s.")
        finally:
            received.cancel()

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
        if (module, name) == ("pathlib", type(Path()).__name__):
            return type(Path())
        found = getattr(sys.modules.get(module), name, None) if module.startswith(f"{self._package}.") else None
        if isinstance(found, type) and (is_dataclass(found) or issubclass(found, ArgosyError)):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a result")


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


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    if process.pid is None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # in case it had not created its process group yet
    process.join()


def _child(
    sender: Connection,
    limits: Limits,
    refusals: Refusals,
    function: Callable[..., Iterable[object]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    os.setsid()
    cpu_s = math.ceil(limits.timeout_s * TURNS_AT_MOST) + 1
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_AT_MOST, FILE_BYTES_AT_MOST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    block_network()
    error: ArgosyError | None = None
    try:
        for result in function(*args, **kwargs):
            sender.send((True, result))
            if time.process_time() >= limits.timeout_s:
                break
    except ArgosyError as refused:
        error = refused
    except MemoryError:
        error = refusals.too_large()
    except Exception as failed:
        error = refusals.crashed(f"{type(failed).__name__}: {failed}")
    sender.send((False, error))


def _once(function: Callable[[], T]) -> Iterator[T]:
    yield function()
