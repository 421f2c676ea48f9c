"""Members that stand twice in one object of a JSON text (RFC 8259, 4): not all parsers keep the same of them.

Almost no text has any. So a parser in C shows each object's members to a function as soon as it has ended, and
nothing is kept. Only where one stands twice is the text read again, to say which.
"""

import json
from collections.abc import Iterator
from typing import Any


class _StandsTwice(Exception):
    """A member of an object stands twice."""


def repeated_member(text: bytes) -> str | None:
    """The path of a member that `text` has twice, such as `recipients.2.to`. None: it has none, or is no JSON."""
    if b":" not in text:
        return None
    try:
        json.loads(text.decode(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        return None
    except _StandsTwice:
        return next(repeated_members(text), None)
    return None


def _each_once(members: list[tuple[str, Any]]) -> None:
    if len(dict(members)) < len(members):
        raise _StandsTwice


def repeated_members(text: bytes) -> Iterator[str]:
    """The paths of all members that `text`, which is JSON, has twice. This is slow."""
    return _repeated(json.loads(text.decode(), object_pairs_hook=_Members), "")


class _Members(list[tuple[str, Any]]):
    """The members of an object, with those that stand twice."""


def _repeated(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Members):
        seen = set[str]()
        for name, item in value:
            if name in seen:
                yield path + name
            seen.add(name)
            yield from _repeated(item, f"{path}{name}.")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _repeated(item, f"{path}{number}.")
