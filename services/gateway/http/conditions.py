"""Conditional requests (RFC 9110, 13)."""

from collections.abc import Sequence


def names_etag(lines: Sequence[str], etag: str) -> bool:
    """Whether one of the lines of If-None-Match names `etag`, or any with `*` (RFC 9110, 13.1.2)."""
    named = [tag.strip().removeprefix("W/") for tag in ",".join(lines).split(",")]
    return "*" in named or etag in named
