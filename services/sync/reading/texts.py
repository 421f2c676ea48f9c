"""Text that others wrote, made fit to be stored and shown: no control characters, and no HTML.

Every pattern is linear in the length of its text: a tag without an end reaches to the end.
"""

import math
import re
from html import unescape
from typing import Any

from libs.common.errors import storable

DEPTH_AT_MOST = 100
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_EMPTY_LINES = re.compile(r"\n{3,}")
_NOT_SHOWN = re.compile(r"<(script|style|head|template)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL | re.I)
_BREAK = re.compile(
    r"</?(?:address|article|blockquote|br|dd|div|dl|dt|fieldset|figure|footer|form|h[1-6]|header|hr|li|main|nav|ol"
    r"|p|pre|section|table|tr|ul)\b[^<>]*>",
    re.I,
)
_TAG = re.compile(
    r"</?(?:a|abbr|acronym|b|bdi|bdo|big|body|button|caption|center|cite|code|col|colgroup|data|del|details|dfn|em"
    r"|figcaption|font|html|i|iframe|img|input|ins|kbd|label|link|map|mark|meta|object|option|param|picture|q|s"
    r"|samp|select|small|source|span|strike|strong|sub|summary|sup|svg|tbody|td|tfoot|th|thead|time|title|tt|u"
    r"|var|video|wbr)\b[^<>]*>",
    re.I,
)


class TooDeep(ValueError):
    """A value has more levels than can be stored."""


def line_of(text: str) -> str:
    """`text` as one line, without HTML."""
    return " ".join(_printable(without_html(text)).split())


def lines_of(text: str) -> str:
    """`text` without HTML; its paragraphs stay."""
    plain = _printable(without_html(text).replace("\r\n", "\n").replace("\r", "\n"))
    if "\n" not in plain:
        return " ".join(plain.split())
    return _EMPTY_LINES.sub("\n\n", "\n".join(" ".join(line.split()) for line in plain.split("\n"))).strip()


def _printable(text: str) -> str:
    return text if text.isprintable() else _CONTROLS.sub("", text)


def without_html(text: str) -> str:
    """`text` as a browser would show it, more or less. `<` in front of what is no element of HTML stays."""
    if "<" in text:
        text = _TAG.sub("", _BREAK.sub("\n", _NOT_SHOWN.sub("", text)))
    return storable(unescape(text)) if "&" in text else text


def cut(text: str, at_most: int) -> str:
    """`text`, or as much of it as there is room for."""
    return text if len(text) <= at_most else text[: at_most - 1].rstrip() + "…"


def clean(value: Any, depth: int = 0) -> Any:
    """A value of JSON as PostgreSQL can store it. Raises TooDeep."""
    if depth > DEPTH_AT_MOST:
        raise TooDeep
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable(str(name)): clean(one, depth + 1) for name, one in value.items()}
        case list() | tuple():
            return [clean(one, depth + 1) for one in value]
        case float() if not math.isfinite(value):
            return None
        case int() if not -(2**63) <= value < 2**63:
            return str(value) if value.bit_length() < 1_000 else None
        case _:
            return value
