"""A checkout in which `make up` has run, and a shell there into which commands are pasted."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2

from deploy.local.test_servers import free_port
from tests.e2e.pages import ROOT

NOT_OF_A_USER = ("DATABASE_URL", "REDIS_URL", "NATS_URL", "BLOB_URL", "MAIL_RELAYS", "ARGOSY_RUN_DIR", "MAKEFLAGS")
BEGINS = "\x1e"
"""Printed before each command."""
ENDS_WITHIN_S = 500
"""Less than a test may take."""


@dataclass(frozen=True)
class Checkout:
    """The project's folder, as somebody has it who has cloned it, and their environment."""

    folder: Path
    environment: dict[str, str]

    def paste(self, commands: Sequence[str]) -> list[str]:
        """What each of them prints, in one shell. Raises AssertionError at the first that fails."""
        announced = (f"printf '{BEGINS}'; printf '{BEGINS}' >&2\n{command}\n" for command in commands)
        output, errors = self.folder.parent / "output", self.folder.parent / "errors"
        with output.open("wb") as out, errors.open("wb") as err:
            shell = subprocess.Popen(
                ["bash", "-e", "-o", "pipefail", "-c", "".join(announced)],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
            try:
                code = shell.wait(ENDS_WITHIN_S)
            finally:
                with suppress(ProcessLookupError):  # what it has left in the background
                    os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
        said = output.read_text(errors="replace").split(BEGINS)[1:]
        assert code == 0, f"{commands[len(said) - 1]}\n{said[-1]}{errors.read_text().split(BEGINS)[-1]}"
        assert len(said) == len(commands)
        return said

    def values(self) -> dict[str, str]:
        """What `. .run/dev.env` tells callers: ARGOSY_URL and ARGOSY_KEY."""
        lines = (self.folder / ".run/dev.env").read_text().splitlines()
        return dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines)


@contextmanager
def checkout(folder: Path, **settings: str) -> Iterator[Checkout]:
    """A copy of this checkout with a fleet, which runs meanwhile. `settings`: variables for `make up`."""
    mine = copied(folder / "argosy")
    try:
        with_settings = mine.environment | {"ARGOSY_PORT": str(free_port())} | settings
        Checkout(mine.folder, with_settings).paste(["make up"])
        yield mine
    finally:
        mine.paste(["make down"])


def copied(folder: Path) -> Checkout:
    """The files that are or would be committed, and a virtual environment that has what this one has."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():  # it may have been removed since
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(ROOT / name, folder / name)
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    for program, command in {"python": sys.executable, "watchfiles": f"{sys.executable} -m watchfiles"}.items():
        (programs / program).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / program).chmod(0o755)
    (folder / ".venv/installed").touch()
    return Checkout(folder, {name: value for name, value in os.environ.items() if name not in NOT_OF_A_USER})
