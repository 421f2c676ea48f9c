"""Records of pages for people: each JobPosting of schema.org that is in them as JSON-LD."""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from libs.common.contracts.sync import SourceSpec
from services.sync.reading.answers import About, Found, text_of, unreadable
from services.sync.reading.mapping import Unreadable

WANTED = "JobPosting"
DEPTH_AT_MOST = 50
_SCRIPT = re.compile(r"<script\b([^>]{0,1000})>(.*?)(?:</script\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_JSON_LD = re.compile(r"application/ld\+json", re.IGNORECASE)


def jsonld_records(body: bytes, spec: SourceSpec, about: About) -> Found:
    """The postings of a page. Raises UnreadableBody where the page has no JSON-LD at all."""
    text = text_of(body, about)
    if text.lstrip()[:1] in ("{", "["):
        parts = [text]
    else:
        parts = [script for attributes, script in _SCRIPT.findall(text) if _JSON_LD.search(attributes)]
    if not parts:
        raise unreadable(body, "There is no JSON-LD in this page.")
    return Found(record for part in parts for record in _postings(part))


def _postings(part: str) -> Iterator[Any]:
    try:
        found = _parsed(part.strip().removeprefix("<!--").removesuffix("-->"))
    except (ValueError, RecursionError):
        if WANTED in part:
            yield Unreadable(part)
        return
    yield from _within(found, 0)


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text, strict=False)  # line breaks in strings are a common mistake


def _within(value: Any, depth: int) -> Iterator[Any]:
    if depth > DEPTH_AT_MOST:
        return
    if isinstance(value, list):
        for one in value:
            yield from _within(one, depth + 1)
    elif isinstance(value, dict):
        kinds = value.get("@type")
        if kinds == WANTED or (isinstance(kinds, list) and WANTED in kinds):
            yield value
            return
        for one in value.values():
            if isinstance(one, dict | list):
                yield from _within(one, depth + 1)
