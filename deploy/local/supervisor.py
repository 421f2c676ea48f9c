"""The supervisor of the fleet's processes (circus): how to start it, send it commands, and end leftover processes.

`python -m deploy.local.supervisor` is the supervisor itself. It runs the processes of .run/fleet.json, and listens
on a socket in .run/ that only its owner can reach.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
from circus import get_arbiter
from circus.client import CircusClient
from circus.exc import CallError

from deploy.local.servers import CannotRun, write_secret
from deploy.local.state import LOGS, ROOT, RUN

ENDPOINT = "ipc://supervisor.sock"
"""Relative to .run/, the working directory of both sides: the path of a socket is limited to 107 characters."""
EVENTS = "ipc://events.sock"
CHECK_EVERY_S = 0.5
STOP_WITHIN_S = 30
MARK = "ARGOSY_RUN_DIR"
"""A variable in the environment of every process of this fleet, by which leftover processes are recognised."""
LOG_BYTES = 20_000_000


@dataclass(frozen=True)
class Program:
    """A program of the fleet, and how many processes run it."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    processes: int = 1


def write_fleet(programs: Iterable[Program]) -> None:
    """Write the programs that the supervisor will manage. It starts none of them until told to."""
    write_secret(RUN / "fleet.json", json.dumps([asdict(program) for program in programs]))


def launch() -> None:
    """Start the supervisor in the background. Raises CannotRun."""
    with (LOGS / "supervisor.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local.supervisor"],
            cwd=ROOT,
            env=os.environ | {MARK: str(RUN)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + STOP_WITHIN_S
    while not alive():
        if process.poll() is not None or time.monotonic() > deadline:
            raise CannotRun(f"The supervisor did not start; see {LOGS / 'supervisor.log'}")
        time.sleep(0.05)


def alive() -> bool:
    """Whether a supervisor runs, even a busy one. Raises CannotRun if it runs but does not reply."""
    if not (RUN / "supervisor.sock").exists() or not any(map(_is_supervisor, leftovers())):
        return False
    ask("globaloptions")
    return True


def _is_supervisor(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "deploy.local.supervisor" in process.cmdline()
    return False


def ask(command: str, timeout_s: float = STOP_WITHIN_S + 15, **properties: Any) -> dict[str, Any]:
    """Send a circus command to the supervisor and return its reply. Raises CannotRun."""
    before = os.getcwd()
    os.chdir(RUN)
    client = CircusClient(endpoint=ENDPOINT, timeout=timeout_s)
    try:
        reply: dict[str, Any] = client.send_message(command, **properties)
    except CallError as error:
        raise CannotRun(f"The supervisor does not reply: {error}") from error
    finally:
        client.stop()
        os.chdir(before)
    if reply.get("status") == "error":
        raise CannotRun(f"The supervisor refuses to {command}: {reply.get('reason')}")
    return reply


def statuses() -> dict[str, str]:
    """The status of each program: `active` or `stopped`. Raises CannotRun."""
    found: dict[str, str] = ask("status")["statuses"]
    return found


def leftovers() -> list[psutil.Process]:
    """The processes of this fleet that still run.

    They have their own session (see `launch`). A process in our session belongs to the caller, even if it has the
    variable MARK.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(RUN) and os.getsid(process.pid) != os.getsid(0):
                found.append(process)
    return found


def sweep() -> int:
    """End the leftover processes of a killed run. Return how many there were."""
    left = leftovers()
    for process in left:
        with suppress(psutil.Error):
            is_postmaster = process.name() == "postgres"
            process.send_signal(signal.SIGINT if is_postmaster else signal.SIGTERM)
    _, stubborn = psutil.wait_procs(left, timeout=5)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    return len(left)


def _run() -> None:
    programs = [Program(**program) for program in json.loads((RUN / "fleet.json").read_text())]
    os.chdir(RUN)
    arbiter = get_arbiter(
        [_watcher(program) for program in programs],
        controller=ENDPOINT,
        pubsub_endpoint=EVENTS,
        check_delay=CHECK_EVERY_S,
        loglevel="WARNING",
    )
    arbiter.start()


def _watcher(program: Program) -> dict[str, Any]:
    stream = {
        "class": "FileStream",
        "filename": str(LOGS / f"{program.name}.log"),
        "max_bytes": LOG_BYTES,
        "backup_count": 2,
    }
    return {
        "name": program.name,
        "cmd": shlex.quote(program.command[0]),
        "args": program.command[1:],
        "env": os.environ | program.environment,
        "working_dir": str(ROOT),
        "numprocesses": program.processes,
        "autostart": False,
        "stop_signal": getattr(signal, f"SIG{program.stop_signal}"),
        "graceful_timeout": STOP_WITHIN_S,
        "stdout_stream": stream,
        "stderr_stream": stream,
    }


if __name__ == "__main__":
    _run()
