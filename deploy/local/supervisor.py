"""The processes, kept alive by circus: who runs, how to ask it, and what to do about what it left behind.

`python -m deploy.local.supervisor` is the supervisor itself. It begins with no programs and is told of each by
`add`, so that one that has changed can be exchanged while the others run. It listens on a socket in .run/ that
only its owner can reach.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import psutil
from circus import get_arbiter
from circus.client import CircusClient
from circus.exc import CallError

from deploy.local.errors import CannotRun
from deploy.local.state import LOGS, ROOT, RUN

ENDPOINT = "ipc://supervisor.sock"
"""Relative to .run/, which both sides are in: a socket's path may have 107 characters only."""
EVENTS = "ipc://events.sock"
CHECK_EVERY_S = 0.5
STOP_WITHIN_S = 30
MARK = "ARGOSY_RUN_DIR"
"""In the environment of every process of this fleet, so that leftovers can be told from strangers."""
LOG_BYTES = 20_000_000
BUSY = ("already running", "is restarting")
"""How circus refuses a command while it carries out another one, such as replacing a process that has ended."""


def launch() -> None:
    """Start the supervisor in the background, with no programs yet. Raises CannotRun."""
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
    """Whether there is a supervisor, however busy it is. Raises CannotRun if it does not answer at all."""
    if not (RUN / "supervisor.sock").exists() or not any(map(_is_supervisor, leftovers())):
        return False
    ask("globaloptions")
    return True


def need() -> None:
    """Raises CannotRun where there is none."""
    if not alive():
        raise CannotRun("The fleet is not running: `make up` first.")


def _is_supervisor(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "deploy.local.supervisor" in process.cmdline()
    return False


def ask(command: str, timeout_s: float = STOP_WITHIN_S + 15, **properties: Any) -> dict[str, Any]:
    """Send the supervisor a command of circus and wait for its answer. Raises CannotRun."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = _ask_once(command, timeout_s, properties)
        if answer.get("status") != "error":
            return answer
        reason = str(answer.get("reason"))
        if not any(word in reason for word in BUSY) or time.monotonic() > deadline:
            raise CannotRun(f"The supervisor refuses to {command}: {reason}")
        time.sleep(0.1)


def _ask_once(command: str, timeout_s: float, properties: dict[str, Any]) -> dict[str, Any]:
    before = os.getcwd()
    os.chdir(RUN)
    client = CircusClient(endpoint=ENDPOINT, timeout=timeout_s)
    try:
        answer: dict[str, Any] = client.send_message(command, **properties)
    except CallError as error:
        raise CannotRun(f"The supervisor does not answer: {error}") from error
    finally:
        client.stop()
        os.chdir(before)
    return answer


def statuses() -> dict[str, str]:
    """What it knows: `active` or `stopped` for each program."""
    found: dict[str, str] = ask("status")["statuses"]
    return found


def pids(name: str) -> list[int]:
    """The processes of a program that live."""
    found: list[int] = ask("list", name=name)["pids"]
    return found


def processes_wanted(name: str) -> int:
    """How many processes of a program it keeps alive."""
    return int(ask("get", name=name, keys=["numprocesses"])["options"]["numprocesses"])


def start(
    name: str, command: list[str], environment: Mapping[str, str], *, stop_signal: str = "TERM", processes: int = 1
) -> None:
    """Make a program known, in place of one of the same name, and start it."""
    if name in statuses():
        remove(name)
    stream = {
        "class": "FileStream",
        "filename": str(LOGS / f"{name}.log"),
        "max_bytes": LOG_BYTES,
        "backup_count": 2,
    }
    options = {
        "env": dict(environment),
        "working_dir": str(ROOT),
        "numprocesses": processes,
        "stop_signal": int(getattr(signal, f"SIG{stop_signal}")),
        "graceful_timeout": STOP_WITHIN_S,
        "stdout_stream": stream,
        "stderr_stream": stream,
    }
    ask("add", name=name, cmd=shlex.quote(command[0]), args=command[1:], options=options)
    ask("start", name=name, match="simple", waiting=True)


def stop(names: Collection[str]) -> None:
    """Stop these programs side by side, each in good order."""
    if stopping := names & statuses().keys():
        pattern = "|".join(map(re.escape, stopping))
        ask("stop", name=f"^({pattern})$", match="regex", waiting=True)


def remove(name: str) -> None:
    """Stop a program in good order, and forget it."""
    ask("rm", name=name, waiting=True)


def leftovers() -> list[psutil.Process]:
    """Processes of this fleet that still run. They have a session of their own (`launch`): whatever shares ours
    belongs to whoever calls, and may have the variable too.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(RUN) and os.getsid(process.pid) != os.getsid(0):
                found.append(process)
    return found


def sweep() -> int:
    """End what a killed run left behind; how many processes."""
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
    os.chdir(RUN)
    arbiter = get_arbiter(
        [], controller=ENDPOINT, pubsub_endpoint=EVENTS, check_delay=CHECK_EVERY_S, loglevel="WARNING"
    )
    arbiter.start()


if __name__ == "__main__":
    _run()
