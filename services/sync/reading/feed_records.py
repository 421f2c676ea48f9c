"""Records of feeds: RSS, Atom, RDF and CDF as feedparser reads them, and JSON Feed. All get the same names."""

import re
from calendar import timegm
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from time import struct_time
from typing import Any

import feedparser
import orjson

from libs.common.contracts.sync import SourceSpec
from services.sync.reading.answers import About, Found, not_json, unreadable, utf8_of

TEXTS = ("id", "title", "link", "summary", "author", "publisher", "comments", "rights", "license", "language")
DATES = ("published", "updated", "created", "expired")
HEAD_BYTES = 64 * 1024
"""Where a feed says how often it wants to be asked."""
DAY_S = 86_400
JSON_NAMES = {
    "id": "id", "title": "title", "url": "link", "summary": "summary", "content_html": "content",
    "content_text": "content", "date_published": "published", "date_modified": "updated", "tags": "tags",
    "language": "language",
}  # fmt: skip
_TTL = re.compile(rb"<ttl>\s*(\d{1,6})\s*</ttl>", re.IGNORECASE)
_SKIP_HOURS = re.compile(rb"<skipHours>(.*?)</skipHours>", re.IGNORECASE | re.DOTALL)
_HOUR = re.compile(rb"<hour>\s*(\d{1,2})\s*</hour>", re.IGNORECASE)


def feed_records(body: bytes, spec: SourceSpec, about: About) -> Found:
    """The entries of a feed. Raises UnreadableBody."""
    if body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return Found(_json_feed(body, about))
    # Without the address of the feed: it would become part of ids that look relative, and it may move.
    headers = {"content-type": about.content_type} if about.content_type else {}
    try:
        read = feedparser.parse(body, response_headers=headers, sanitize_html=False)
    except (ValueError, LookupError, AttributeError, TypeError, KeyError, RecursionError):
        raise unreadable(body, "This feed is damaged.") from None
    if not read.get("version") and not read.entries:
        raise unreadable(body, "This is not a feed.")
    return Found(map(_record, read.entries), None, *_asks(body[:HEAD_BYTES]))


def _asks(head: bytes) -> tuple[int | None, tuple[int, ...]]:
    """For how many seconds, and at what hours, a feed asks not to be asked."""
    ttl, skipped = _TTL.search(head), _SKIP_HOURS.search(head)
    hours = {int(hour) % 24 for hour in _HOUR.findall(skipped[1])} if skipped else set()
    return int(ttl[1]) * 60 if ttl else None, tuple(sorted(hours))


def _record(entry: Mapping[str, Any]) -> dict[str, Any]:
    record = {name: entry[name] for name in TEXTS if isinstance(entry.get(name), str)}
    for name in DATES:
        parsed = _date(entry[f"{name}_parsed"]) if f"{name}_parsed" in entry else None
        if date := parsed or (name in entry and entry[name]):
            record[name] = date
    if contents := [part["value"] for part in entry.get("content", ()) if isinstance(part.get("value"), str)]:
        record["content"] = "\n".join(contents)
    if tags := [tag["term"] for tag in entry.get("tags", ()) if isinstance(tag.get("term"), str)]:
        record["tags"] = tags
    if enclosures := [one["href"] for one in entry.get("enclosures", ()) if isinstance(one.get("href"), str)]:
        record["enclosures"] = enclosures
    others = (name for name in entry if name not in record and isinstance(entry[name], str))
    return record | {name: entry[name] for name in others}


def _date(parsed: struct_time | None) -> str | None:
    """feedparser has made it a time in UTC."""
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(timegm(parsed), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def _json_feed(body: bytes, about: About) -> Iterator[dict[str, Any]]:
    try:
        feed = orjson.loads(utf8_of(body, about))
    except orjson.JSONDecodeError as error:
        raise unreadable(body, not_json(error)) from None
    items = feed.get("items")
    if not str(feed.get("version", "")).startswith("https://jsonfeed.org/version/") or not isinstance(items, list):
        raise unreadable(body, "This is not a JSON Feed.")
    return (_renamed(item) for item in items)


def _renamed(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    record = {JSON_NAMES.get(name, name): value for name, value in item.items() if value is not None}
    authors = item.get("authors") or [item.get("author")]
    names = [one["name"] for one in authors if isinstance(one, dict) and isinstance(one.get("name"), str)]
    return record | ({"author": ", ".join(names)} if names else {})
