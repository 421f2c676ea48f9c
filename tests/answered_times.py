"""Times in answers: every test that asks the API sees to it that they are written in the one way."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx

from libs.common.contracts.moments import WRITTEN

THEIRS = frozenset(
    ("examples", "payload", "event", "raw", "variables", "extra", "record", "letter", "schema", "points", "series")
)
"""Members that are as callers and sources gave them, and hours of a zone."""
_LIKE_A_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}[^ ]*")


def times(value: Any) -> Iterator[str]:
    """All texts in an answer that look like a time and are ours."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in THEIRS:
                yield from times(item)
    elif isinstance(value, list):
        for item in value:
            yield from times(item)
    elif isinstance(value, str) and _LIKE_A_TIME.fullmatch(value):
        yield value


async def check(answer: httpx.Response) -> None:
    """For `event_hooks`: fails for a time that is written otherwise. What is no JSON is the caller's file."""
    if answer.headers.get("content-type", "") in ("application/json", "application/problem+json"):
        told = times(json.loads(await answer.aread() or "null"))
        otherwise = [one for one in told if not re.match(WRITTEN, one)]
        assert not otherwise, (str(answer.request.url), otherwise)
