"""Starts programs for a sandboxed process, which cannot start any: one at a time, and only those it was given.

It is forked before the untrusted input is read, and gets nothing from it but command lines. So a document that
took its process over cannot multiply it. Each program dies with its launcher, and the launcher with its process:
the kernel kills them (PR_SET_PDEATHSIG).
"""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from libs.common.sandbox import confinement, seccomp

COMMAND_BYTES_AT_MOST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has ended. `code` is negative if a signal killed it."""

    code: int
    output: str
    errors: str


class _Launcher:
    """The process's connections to its launcher, if it has one."""

    commands: Connection | None = None
    results: Connection | None = None


def run_program(command: Sequence[str | Path]) -> Ended:
    """Run a program and wait for its end. Raises OSError if it cannot be run, or the launcher is gone."""
    arguments = [str(argument) for argument in command]
    if _Launcher.commands is None or _Launcher.results is None:  # not in a sandbox
        return _run(arguments, confined=False)
    _Launcher.commands.send_bytes(json.dumps(arguments).encode())
    try:
        code, output, errors = json.loads(_Launcher.results.recv_bytes())
    except EOFError:
        raise OSError(f"{arguments[0]} is not to be started here") from None
    return Ended(code, output, errors)


def start(programs: Sequence[Path]) -> None:
    """Start the launcher of this process for `programs`. The process must be able to fork, and may not later."""
    commands, _Launcher.commands = Pipe(duplex=False)
    _Launcher.results, results = Pipe(duplex=False)
    parent = os.getpid()
    if os.fork() == 0:
        try:
            die_with(parent)
            confinement.leave_open_files(commands.fileno(), results.fileno())
            _serve(commands, results, frozenset(map(str, programs)))
        finally:
            os._exit(0)
    commands.close()
    results.close()


def die_with(parent: int) -> None:
    """See to it that the kernel kills this process as soon as `parent`, which has started it, is dead."""
    seccomp.prctl(seccomp.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _serve(commands: Connection, results: Connection, programs: frozenset[str]) -> None:
    with suppress(EOFError, OSError, ValueError):
        while True:
            command = json.loads(commands.recv_bytes(COMMAND_BYTES_AT_MOST))
            if not isinstance(command, list) or not command or command[0] not in programs:
                return
            try:
                ended = _run([str(argument) for argument in command], confined=True)
            except OSError as error:
                ended = Ended(127, "", str(error))
            results.send_bytes(json.dumps([ended.code, ended.output, ended.errors]).encode())


def _run(command: Sequence[str], *, confined: bool) -> Ended:
    launcher = os.getpid()

    def confine() -> None:
        die_with(launcher)
        confinement.leave_system_calls(but_execute=True)

    done = subprocess.run(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        close_fds=not confined,  # the launcher's are closed by execve anyway
        preexec_fn=confine if confined else None,
    )
    return Ended(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
