"""What `make up` has to do: what runs, compared with what is to run."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from deploy.local.program_specs import SERVERS, Program
from deploy.local.state import Started

UNKNOWN = "nothing is known of what it was started with"


class Action(StrEnum):
    """What is done with a program."""

    KEEP = "unchanged"
    START = "started"
    RESTART = "restarted"
    REMOVE = "stopped"


class Change(NamedTuple):
    """What is done with one program, and why."""

    name: str
    action: Action
    reasons: list[str]

    def __str__(self) -> str:
        why = f": {', '.join(self.reasons)}" if self.reasons else ""
        return f"{self.name:<10} {self.action}{why}"


def plan(wanted: Iterable[Program], started: Mapping[str, Started], statuses: Mapping[str, str]) -> list[Change]:
    """What is to be done, in the order of `wanted`; what runs and is not wanted comes last.

    `statuses`: what the supervisor says, `active` or another word.
    """
    changes = []
    names = set()
    for program in wanted:
        names.add(program.name)
        if statuses.get(program.name) != "active":
            changes.append(Change(program.name, Action.START, []))
        elif reasons := differences(started.get(program.name), program):
            changes.append(Change(program.name, Action.RESTART, reasons))
        else:
            changes.append(Change(program.name, Action.KEEP, []))
    return changes + [Change(name, Action.REMOVE, ["not needed any more"]) for name in statuses.keys() - names]


def differences(before: Started | None, program: Program) -> list[str]:
    """In what way `program` is not what was started; empty: it is the same."""
    if before is None:
        return [UNKNOWN]
    now = program.started
    reasons = []
    if before.code != now.code:
        reasons.append("new configuration" if program.name in SERVERS else "new code")
    if before.command != now.command:
        reasons.append("new command")
    variables = before.variables.keys() | now.variables.keys()
    return reasons + sorted(name for name in variables if before.variables.get(name) != now.variables.get(name))
