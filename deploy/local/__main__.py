"""python -m deploy.local up | down | status | scale | logs | keys | export | monitor | load | boards-check
    | redis-start | redis-stop

Each command's module is imported when it is asked for: a mistake in a setting is told before what takes two
seconds to import is imported.
"""

import argparse
import fcntl
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local import settings, state
from deploy.local.errors import CannotRun
from deploy.local.state import RUN


def _module(name: str) -> Any:
    return importlib.import_module(f"deploy.local.{name}")


@contextmanager
def _alone() -> Iterator[None]:
    """One command at a time changes a fleet; the next one waits."""
    if not RUN.exists():  # nothing to change, and nowhere to say so
        yield
        return
    with (RUN / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another command is at work on this fleet; waiting for it to end …", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status", "monitor", "redis-start", "redis-stop"):
        commands.add_parser(name)
    scaling = commands.add_parser("scale")
    scaling.add_argument("service", nargs="?")
    scaling.add_argument("processes", nargs="?")
    commands.add_parser("logs").add_argument("name", nargs="?")
    for name in ("load", "boards-check"):
        loading = commands.add_parser(name)
        loading.add_argument("seconds", nargs="?", type=float, default=75.0)
    loading.add_argument("--pictures", type=Path)
    keys = commands.add_parser("keys")
    keys.add_argument("new", nargs="?")
    keys.add_argument("role", nargs="?")
    exports = commands.add_parser("export")
    exports.add_argument("dataset")
    exports.add_argument("format_", metavar="format")
    return parser


def _up() -> None:
    state.load()  # makes .run/, where the lock is
    with _alone():
        choice = settings.choose(state.load(), os.environ)
        _module("up").up(choice)


def _run(arguments: argparse.Namespace) -> bool:
    """Run one command; whether all is well."""
    match arguments.command:
        case "up":
            _up()
        case "status":
            return bool(_module("status").status())
        case "down":
            with _alone():
                _module("down").down()
        case "scale":
            with _alone():
                _module("scale").scale(arguments.service, arguments.processes)
        case "redis-start" | "redis-stop" as switch:
            with _alone():
                getattr(_module("redis_switch"), switch.removeprefix("redis-"))()
        case command:  # its module and its function have its name
            name = command.replace("-", "_")
            given = {key: value for key, value in vars(arguments).items() if key != "command"}
            getattr(_module(name), name)(**given)
    return True


def main() -> None:
    """Run one command; a trouble with a name is told in a line or two."""
    arguments = _parser().parse_args()
    try:
        sys.exit(0 if _run(arguments) else 1)
    except CannotRun as trouble:
        sys.exit(f"{trouble}")
    except BrokenPipeError:  # `make status | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit("Interrupted. The same command again goes on where this one stopped.")


if __name__ == "__main__":
    main()
