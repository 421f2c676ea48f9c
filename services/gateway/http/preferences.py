"""Prefer, in every form that RFC 7240 allows: on several lines, with quotes, parameters and space, in any case."""

import re
from collections.abc import Iterable

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - of RFC 9110, 5.6.2
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ELEMENT = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_LIST = re.compile(rf'(?:[^"]|{_QUOTED})*', re.DOTALL)
_PREFERENCE = re.compile(rf"\s*({_TOKEN})\s*(?:=\s*(?:({_TOKEN}|{_QUOTED})\s*)?)?(?:;.*)?", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
READ_AT_MOST = 1000
"""Characters of Prefer. Taking a longer one apart could take long, and it is nobody's preference."""


def preferences(lines: Iterable[str]) -> dict[str, str]:
    """The values of the preferences in the lines of Prefer, by their names in small letters.

    One without a value has the value `""`. The first of several with one name counts; what is malformed does not.
    """
    found: dict[str, str] = {}
    text = ",".join(lines)
    if len(text) > READ_AT_MOST or not _LIST.fullmatch(text):
        return {}
    for element in _ELEMENT.findall(text):
        if match := _PREFERENCE.fullmatch(element):
            name, value = match[1].lower(), match[2] or ""
            found.setdefault(name, _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value)
    return found
