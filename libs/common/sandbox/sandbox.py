"""Runs a function on untrusted input in a process of its own: limited memory, time and file size, no network.

Processes are forked from a server that has the libraries loaded, so one costs milliseconds. Each leads its
own process group: when it is over, or late, or its caller is cancelled, the group is killed, whatever it started.
"""

import asyncio
import io
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, is_dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from libs.common.config import without_secrets
from libs.common.errors import ArgosyError
from libs.common.sandbox.seccomp import block_network

P = ParamSpec("P")
T = TypeVar("T")

FILE_BYTES_AT_MOST = 4 * 1024**3
ANSWER_BYTES_AT_MOST = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may use."""

    memory_bytes: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Refusals:
    """What is raised for a process that took too long, needed too much memory, or died."""

    too_long: type[ArgosyError]
    too_large: type[ArgosyError]
    crashed: type[ArgosyError]


class Sandbox:
    """A source of limited processes. Open files, sockets and secrets of this process do not reach them.

    `package`: the service's own, of which alone an answer may be made. `preload`: what the processes need.
    """

    def __init__(self, limits: Limits, refusals: Refusals, *, package: str, preload: list[str]) -> None:
        self._limits = limits
        self._refusals = refusals
        self._package = package
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *preload])  # else each process would load this anew
        with without_secrets():  # a process could read what it was started with, whatever is removed later
            multiprocessing.forkserver.ensure_running()

    def lasting(self, times: float) -> "Sandbox":
        """One whose processes may take so many times as long."""
        limits = replace(self._limits, timeout_s=self._limits.timeout_s * times)
        other = copy(self)
        other._limits = limits
        return other

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `function`, which must be small and picklable, like its arguments.

        Raises what the function raised if that is an ArgosyError, else one of the refusals.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_child, args=(sender, self._limits, self._refusals, function, args, kwargs), daemon=True
        )
        try:
            await asyncio.to_thread(process.start)  # the first one waits for the server to load
            sender.close()
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    await _readable(receiver)
                    # In a thread: a child that has been taken over might send half an answer.
                    succeeded, value = await asyncio.to_thread(self._answer, receiver)
            except TimeoutError:
                raise self._refusals.too_long(f"It took longer than {self._limits.timeout_s:g} s.") from None
            if not succeeded:
                raise value
            result: T = value
            return result
        finally:
            try:
                await asyncio.to_thread(_bury, process)
            finally:  # not before: the thread that reads the answer sees its end when the process is gone
                receiver.close()

    def _answer(self, receiver: Connection) -> tuple[bool, Any]:
        os.set_blocking(receiver.fileno(), True)  # uvloop has made it otherwise, and large answers come in parts
        try:
            content = io.BytesIO(receiver.recv_bytes(ANSWER_BYTES_AT_MOST))
            answer: tuple[bool, Any] = _Answers(content, self._package).load()
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._refusals.crashed from error
        return answer


class _Answers(pickle.Unpickler):
    """Makes only what the service's functions return: whoever wrote the document may have written the answer."""

    def __init__(self, content: io.BytesIO, package: str) -> None:
        super().__init__(content)
        self._package = package

    def find_class(self, module: str, name: str) -> Any:
        """A dataclass or an error of the service, or a path. Raises UnpicklingError."""
        if (module, name) == ("pathlib", type(Path()).__name__):
            return type(Path())
        found = getattr(sys.modules.get(module), name, None) if module.startswith(f"{self._package}.") else None
        if isinstance(found, type) and (is_dataclass(found) or issubclass(found, ArgosyError)):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is no answer")


async def _readable(receiver: Connection) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(receiver.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(receiver.fileno())


def _bury(process: multiprocessing.process.BaseProcess) -> None:
    if process.pid is None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # in case it had not made its group yet
    process.join()


def _child(
    sender: Connection,
    limits: Limits,
    refusals: Refusals,
    function: Callable[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    os.setsid()
    cpu_s = int(limits.timeout_s) + 1
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_AT_MOST, FILE_BYTES_AT_MOST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    block_network()
    try:
        answer = (True, function(*args, **kwargs))
    except ArgosyError as error:
        answer = (False, error)
    except MemoryError:
        answer = (False, refusals.too_large())
    except Exception as error:
        answer = (False, refusals.crashed(f"{type(error).__name__}: {error}"))
    sender.send(answer)
