"""`make logs`: follow what the programs write."""

import os

from deploy.local.errors import CannotRun
from deploy.local.state import LOGS, shown


def logs(name: str | None) -> None:
    """Follow one program's log, or all. Does not return. Raises CannotRun."""
    known = sorted(path.stem for path in LOGS.glob("*.log"))
    if not known:
        raise CannotRun(f"There are no logs in {shown(LOGS)} yet: `make up` first.")
    if name and name not in known:
        raise CannotRun(f"There is no log of {name}; there are: {', '.join(known)}.")
    files = [str(LOGS / f"{each}.log") for each in ([name] if name else known)]
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])  # noqa: S606 - no shell is needed
