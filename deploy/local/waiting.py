"""Waiting for what was started, and noticing early that it will not come."""

import time
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from deploy.local import supervisor
from deploy.local.errors import CannotRun
from deploy.local.state import LOGS, shown

READY_WITHIN_S = 60.0
EVERY_S = 0.1
ENDINGS = 2
"""A program that has ended so often within one start will end again."""
NONE_ALIVE_S = 5.0
"""So do those whose processes end too fast to be seen."""
SERVERS_GET_S = 10.0
"""A server that was killed may end some times more, until its last life has let go of memory and files."""
LINES_SHOWN = 12


class Watched(Protocol):
    """A program, as far as it matters here."""

    @property
    def name(self) -> str:
        """Of the program."""
        ...

    @property
    def processes(self) -> int:
        """How many of them there should be."""
        ...


class Endings:
    """Counts how often processes of one program end, from the pids that are seen to live. Times in seconds."""

    def __init__(self, processes: int, now: float, *, patience_s: float = 0.0) -> None:
        self._processes = processes
        self._begun = self._alive_at = now
        self._patience_s = patience_s
        self._seen: set[int] = set()

    def keeps_ending(self, pids: Collection[int], now: float) -> bool:
        """Whether it makes no sense to wait any longer."""
        self._seen.update(pids)
        if pids or not self._processes:
            self._alive_at = now
        if now - self._begun < self._patience_s:
            return False
        return len(self._seen) >= self._processes + ENDINGS or now - self._alive_at > NONE_ALIVE_S


class Watch:
    """Looks at programs while somebody waits for them."""

    def __init__(self, programs: Iterable[Watched], *, patience_s: float = 0.0) -> None:
        now = time.monotonic()
        self._endings = {
            program.name: Endings(program.processes, now, patience_s=patience_s) for program in programs
        }
        self._logged = {name: _size(name) for name in self._endings}

    def check(self) -> None:
        """Raises CannotRun, with the last lines of its log, if one of them keeps ending."""
        for name, endings in self._endings.items():
            if endings.keeps_ending(supervisor.pids(name), time.monotonic()):
                lines = "".join(f"    {line}\n" for line in last_lines(name, self._logged[name]))
                raise CannotRun(
                    f"{name} keeps ending soon after its start. The end of {shown(LOGS / f'{name}.log')}:\n{lines}"
                    f"It is started again and again. Mend it and `make up`, or `make down`."
                )


def wait_for(
    what: str, done: Callable[[], bool], watch: Watch | None = None, *, within_s: float = READY_WITHIN_S
) -> None:
    """Poll until `done`; dots show that it goes on. Raises CannotRun after `within_s`, or as `watch` says."""
    begun = shown_at = time.monotonic()
    try:
        while not done():
            if watch is not None:
                watch.check()
            now = time.monotonic()
            if now - begun > within_s:
                raise CannotRun(f"{what} is not ready after {within_s:.0f} s; see {shown(LOGS)}/")
            if now - shown_at > 1:
                print("." if shown_at > begun else f"waiting for {what} ", end="", flush=True)
                shown_at = now
            time.sleep(EVERY_S)
    finally:
        if shown_at > begun:
            print(flush=True)


def last_lines(name: str, since: int = 0) -> list[str]:
    """The end of a program's log, of what follows the first `since` bytes; a log begun anew counts whole."""
    path = LOGS / f"{name}.log"
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(since if since <= size else 0, size - 20_000))
        return file.read().decode(errors="replace").splitlines()[-LINES_SHOWN:]


def _size(name: str) -> int:
    path = LOGS / f"{name}.log"
    return path.stat().st_size if path.exists() else 0
