"""An answer as the readers of the formats get it, what they make of it, and its encoding."""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from libs.common.contracts.sync import Paging
from services.sync.refusals import UnreadableBody

SHOWN = 200
"""Characters of an unreadable body that are told."""
BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class About:
    """What is known of an answer besides its body."""

    url: str
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What is in an answer. `records` are read while they are taken."""

    records: Iterator[Any]
    """Values of JSON, and `Unreadable`s."""
    told: Any = None
    """What the page says of the next one."""
    ttl_s: int | None = None
    """For so long a feed asks not to be asked again."""
    skip_hours: tuple[int, ...] = ()
    """Hours of the day, in UTC, at which a feed asks not to be asked."""


def told_expression(paging: Paging) -> str | None:
    """Where a page says what the next one is."""
    return getattr(paging, "cursor", None) or getattr(paging, "link", None)


def unreadable(body: bytes, why: str) -> UnreadableBody:
    """The refusal of a body, with its beginning."""
    start = body[: 4 * SHOWN].decode(errors="replace")
    shown = "".join(letter if letter.isprintable() else " " for letter in start)
    begins = " ".join(shown.split())[:SHOWN]
    return UnreadableBody(f"{why} It begins: {begins}" if begins else f"{why} It is empty.")


def not_json(error: Exception) -> str:
    """That a body is not JSON, and where it stops to be, if the parser has said so."""
    if isinstance(error, json.JSONDecodeError):
        return f"This is not JSON: it cannot be read beyond line {error.lineno}, column {error.colno}."
    return "This is not JSON, or it is nested too deeply."


def text_of(body: bytes, about: About) -> str:
    """The body as text: by its byte order mark, by what the server said, as UTF-8, or as Windows-1252."""
    for mark, name in BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, errors="replace")
    said = _CHARSET.search(about.content_type)
    for name in (*((said[1],) if said else ()), "utf-8"):
        try:
            return body.decode(name)
        except (LookupError, UnicodeError):
            continue
    return body.decode("cp1252", errors="replace")


def utf8_of(body: bytes, about: About) -> bytes:
    """The body as UTF-8, without a byte order mark; the same bytes where it is that already."""
    if body.startswith(codecs.BOM_UTF8):
        return body[len(codecs.BOM_UTF8) :]
    if _is_utf8(body):
        return body
    return text_of(body, about).encode(errors="replace")


def _is_utf8(body: bytes) -> bool:
    if body[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in body[:4]:
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:  # in parts, so that there is no second copy of a large body
        for start in range(0, len(body), 2**20):
            decoder.decode(body[start : start + 2**20])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
