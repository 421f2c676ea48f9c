"""python -m deploy.images.requirements SERVICE: the part of requirements.lock that a service needs, with hashes.

The lock holds what development needs too. uv notes under each package which others asked for it: so the rest is
found from the packages of a service's extra. It runs where nothing is installed yet, so it needs nothing itself.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Locked(NamedTuple):
    """A package of the lock: its lines, and the packages that asked for it."""

    text: str
    wanted_by: frozenset[str]


def read_lock(text: str) -> dict[str, Locked]:
    """The packages of a lock file by name."""
    entries = re.split(r"(?m)^(?=\S)", text)
    return {_name(entry): Locked(entry, frozenset(_wanted_by(entry))) for entry in entries if entry[:1].isalnum()}


def _wanted_by(entry: str) -> Iterable[str]:
    comment = entry.partition("# via")[2]
    return (name for line in comment.splitlines() if (name := line.strip(" #")))


def _name(requirement: str) -> str:
    """The normalized name: https://packaging.python.org/en/latest/specifications/name-normalization/."""
    bare = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", bare).lower()


def needed(lock: dict[str, Locked], roots: Iterable[str]) -> list[str]:
    """The names of `roots` and of all that they need, directly or not. Raises KeyError: one is not locked."""
    found: set[str] = set()
    waiting = [_name(root) for root in roots]
    while waiting:
        name = waiting.pop()
        lock[name]
        if name not in found:
            found.add(name)
            waiting += [other for other, locked in lock.items() if name in locked.wanted_by]
    return sorted(found)


def requirements_of(service: str) -> str:
    """The requirements file of `service`, an extra of the project. Raises KeyError: there is no such extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = read_lock((ROOT / "requirements.lock").read_text())
    roots = [*project["dependencies"], *project["optional-dependencies"][service]]
    return "".join(lock[name].text for name in needed(lock, roots))


if __name__ == "__main__":
    sys.stdout.write(requirements_of(sys.argv[1]))
