"""Records of JSON. Of a large answer, of up to 200 MB, only one record is in memory as objects at a time.

The list of records is found by a scan that knows only strings and brackets. Each of its elements is then parsed,
and the answer without them. Where `records` is more than a path of names, all is parsed at once. So is a small
answer, because that is faster; if it fails, perhaps only one of its records is to blame, and the scan follows.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from libs.common.contracts.sync import SourceSpec
from services.sync.reading.answers import About, Found, not_json, told_expression, unreadable, utf8_of
from services.sync.reading.expressions import ExpressionFailed, find, needs_only_ends, plain_path
from services.sync.reading.mapping import Unreadable

_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
"""What is before the next bracket that is in no string."""
_TEXT = rb'[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+"'
_SHALLOW = re.compile(
    rb"[\[{](?:%s|[\[{](?:%s|[\[{](?:%s|[\[{](?:%s)*+[\]}])*+[\]}])*+[\]}])*+[\]}]" % ((_TEXT,) * 4), re.DOTALL
)
"""A whole value with at most four levels of brackets, in one go."""
_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_PLAIN = re.compile(rb"[^,\]}\s]++")
SHOWN = 2_000
AT_ONCE_BYTES = 8 * 1024**2
"""As objects they take some 60 MB."""


class _Broken(Exception):
    """This is not JSON."""


def json_records(body: bytes, spec: SourceSpec, about: About) -> Found:
    """The records of an answer. Raises UnreadableBody."""
    body = utf8_of(body, about)
    try:
        return _small(body, spec) or _streamed(body, spec) or _whole(body, spec)
    except (_Broken, ValueError, RecursionError) as error:
        raise unreadable(body, not_json(error)) from None
    except ExpressionFailed as error:
        raise unreadable(body, f"An expression cannot be applied to it. {error}") from None


def _small(body: bytes, spec: SourceSpec) -> Found | None:
    """None: the answer is large, or not all of it is JSON."""
    try:
        return _found(orjson.loads(body), body, spec) if len(body) <= AT_ONCE_BYTES else None
    except orjson.JSONDecodeError:
        return None


def _streamed(body: bytes, spec: SourceSpec) -> Found | None:
    """None: the answer must be parsed as a whole."""
    path = plain_path(spec.mapping.records) if spec.mapping.records else ()
    told = told_expression(spec.paging)
    if path is None or (told and path and not needs_only_ends(told, path)):
        return None
    start = _value_at(body, path)
    if body[start : start + 1] != b"[":
        return None
    elements = list(_elements(body, start))
    end = elements.pop()[1]
    ends = [body[slice(*one)] for one in (elements[:1] + elements[1:][-1:])]
    rest = _parsed(body[:start] + b"[" + b",".join(ends) + b"]" + body[end:])
    names = _names(rest, spec)
    records = (_named(_element(body[first:last]), names) for first, last in elements)
    return Found(records, told=find(told)(rest) if told else None)


def _whole(body: bytes, spec: SourceSpec) -> Found:
    return _found(_parsed(body), body, spec)


def _found(answer: Any, body: bytes, spec: SourceSpec) -> Found:
    expression = spec.mapping.records
    found = find(expression)(answer) if expression else answer
    if not isinstance(found, list):
        if found is not None or not _is_there(answer, expression):
            where = f"`{expression}` is no list." if expression else "The answer is no list: say where it is."
            raise unreadable(body, where)
        found = []
    told = told_expression(spec.paging)
    names = _names(answer, spec)
    return Found((_named(one, names) for one in found), told=find(told)(answer) if told else None)


def _is_there(answer: Any, expression: str | None) -> bool:
    """Whether the answer names the place of the records, so that null is meant as none."""
    path = plain_path(expression) if expression else None
    for name in path or ():
        if not isinstance(answer, dict) or name not in answer:
            return False
        answer = answer[name]
    return path is not None


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # takes lone surrogates and NaN, too


def _element(text: bytes) -> Any:
    try:
        return _parsed(text)
    except (ValueError, RecursionError):
        return Unreadable(text[:SHOWN].decode(errors="replace"))


def _names(answer: Any, spec: SourceSpec) -> list[str] | None:
    if spec.mapping.fields is None:
        return None
    found = find(spec.mapping.fields)(answer)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ExpressionFailed(f"`{spec.mapping.fields}` is no list of names.")
    return found


def _named(record: Any, names: list[str] | None) -> Any:
    if names is None or not isinstance(record, list):
        return record
    return dict(zip(names, record, strict=False))


def _value_at(body: bytes, path: tuple[str, ...]) -> int:
    """Where the value at `path` begins; where something that is no object is in its way, that."""
    at = _space(body, 0)
    for name in path:
        if body[at : at + 1] != b"{":
            return at
        at = _member(body, at, name)
    return at


def _member(body: bytes, at: int, name: str) -> int:
    """Where the value of a member of the object at `at` begins; the object's end, if it has none of that name."""
    at = _space(body, at + 1)
    while body[at : at + 1] == b'"':
        string = _match(_STRING, body, at)
        key, at = body[at:string], _space(body, string)
        if body[at : at + 1] != b":":
            raise _Broken("a name without a value")
        at = _space(body, at + 1)
        if orjson.loads(key) == name:
            return at
        at = _space(body, _end_of(body, at))
        if body[at : at + 1] == b",":
            at = _space(body, at + 1)
    return at


def _elements(body: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Where each element of the list at `at` begins and ends; at last, where the list does."""
    start, at = at, _space(body, at + 1)
    while body[at : at + 1] != b"]":
        end = _end_of(body, at)
        yield at, end
        at = _space(body, end)
        if body[at : at + 1] == b",":
            at = _space(body, at + 1)
        elif body[at : at + 1] != b"]":
            raise _Broken("a list without an end")
    yield start, at + 1


def _end_of(body: bytes, at: int) -> int:
    """Where the value that begins at `at` ends."""
    first = body[at : at + 1]
    if first == b'"':
        return _match(_STRING, body, at)
    if first not in (b"{", b"["):
        return _match(_PLAIN, body, at)
    if whole := _SHALLOW.match(body, at):
        return whole.end()
    depth = 0
    while True:
        depth += 1 if body[at : at + 1] in (b"{", b"[") else -1
        at += 1
        if depth == 0:
            return at
        at = _match(_TO_BRACKET, body, at)
        if at == len(body) or body[at : at + 1] == b'"':
            raise _Broken("it breaks off")


def _match(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    found = pattern.match(body, at)
    if found is None:
        raise _Broken("it breaks off")
    return found.end()


def _space(body: bytes, at: int) -> int:
    return _match(_SPACE, body, at)
