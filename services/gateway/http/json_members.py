"""Members that stand twice in one object of a JSON text (RFC 8259, 4): not all parsers keep the same of them.

Almost no text has any. So it is only counted first, in a few passes in C: what has been parsed and written again
has fewer members than the text if some were dropped.
"""

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json, to_json

from services.gateway.http.json_budgets import between_strings


def repeated_member(text: bytes) -> str | None:
    """The path of a member that `text` has twice, such as `recipients.2.to`. None: it has none, or is no JSON."""
    if b":" not in text:
        return None
    try:
        written = to_json(from_json(text))
    except ValueError:
        return None
    return None if _members(written) == _members(text) else next(repeated_members(text), None)


def repeated_members(text: bytes) -> Iterator[str]:
    """The paths of all members that `text`, which is JSON, has twice. This is slow."""
    return _repeated(json.loads(text.decode(), object_pairs_hook=_Members), "")


class _Members(list[tuple[str, Any]]):
    """The members of an object, with those that stand twice."""


def _members(text: bytes) -> int:
    return between_strings(text).count(b":")


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
