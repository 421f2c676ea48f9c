"""Maps a record of a source to an opportunity, or says why it does not pass. One record never harms another."""

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson

from libs.common.contracts.sync import (
    KEY_BYTES_AT_MOST,
    RECORD_BYTES_AT_MOST,
    SUMMARY_AT_MOST,
    TITLE_AT_MOST,
    Format,
    SourceSpec,
)
from services.sync.reading.amounts import AmountOutOfRange, amount
from services.sync.reading.dates import DateOutOfRange, Moment, UnreadableDate, moment
from services.sync.reading.expressions import ExpressionFailed, Find, find
from services.sync.reading.texts import TooDeep, clean, cut, line_of, lines_of

FIELD_AT_MOST = 500
"""Characters of agency and status."""
URL_AT_MOST = 2_000
EXTRA_BYTES_AT_MOST = 16 * 1024
RAW_SHOWN = 1_000
"""Characters of what is too large to be kept, or no JSON."""
CHANGED = "incremental.field"
DOUBTFUL = "doubtful"
"""The name in `extra` of the list of what is odd about a record."""
_USUAL_URL = re.compile(r"https?://[A-Za-z0-9.-]++(?:/[\w~%./?&=+,:;@!#-]*+)?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}")
FIELDS = (
    *("key", "title", "summary", "url", "agency", "opens_at", "closes_at", "status"),
    *("amount_min", "amount_max", "currency"),
)
DEFAULTS: dict[Format, dict[str, str]] = {
    Format.FEED: {
        "key": "id || link || title",
        "title": "title",
        "summary": "content || summary",
        "url": "link",
        "agency": "publisher || author",
        "opens_at": "published || updated",
        "closes_at": "expired",
    },
    Format.ICS: {
        "key": "id",
        "title": "summary",
        "summary": "description",
        "url": "url",
        "agency": "organizer",
        "closes_at": "due || end || start",
        "status": "status",
    },
    Format.JSONLD: {
        "key": 'identifier.value || identifier."@id" || identifier || "@id" || url',
        "title": "title || name",
        "summary": "description",
        "url": 'url || "@id"',
        "agency": "hiringOrganization.name || hiringOrganization",
        "opens_at": "datePosted",
        "closes_at": "validThrough",
        "amount_min": "baseSalary.value.minValue || baseSalary.minValue || baseSalary.value.value",
        "amount_max": "baseSalary.value.maxValue || baseSalary.maxValue || baseSalary.value.value",
        "currency": "baseSalary.currency || salaryCurrency",
    },
}
"""Where the fields of these formats are, if the source's mapping does not say so."""


class Unreadable:
    """A part of an answer that is no record. `text`: what it is, or how it begins."""

    def __init__(self, text: str) -> None:
        self.text = text


class _Bad(Exception):
    """Why a record does not pass."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.field = reason, field


class Mapper:
    """Maps the records of one source. `url`: of the page, for links that are relative. Raises ExpressionFailed."""

    def __init__(self, spec: SourceSpec, url: str) -> None:
        said = spec.mapping.model_dump(include=set(FIELDS), exclude_none=True)
        expressions = DEFAULTS.get(spec.format, {}) | said
        self._find = {name: find(expression) for name, expression in expressions.items()}
        self._extra = {name: find(expression) for name, expression in spec.mapping.extra.items()}
        if spec.incremental:
            self._find[CHANGED] = find(spec.incremental.field)
        self._zone = spec.time_zone
        self._url = url

    def line(self, raw: Any) -> tuple[bytes, bool]:
        """The line of JSON for a record, as `page.Line` reads it, and whether the record passes."""
        if isinstance(raw, Unreadable):
            return _refused(_Bad("unreadable_record"), None, orjson.dumps(cut(raw.text, RAW_SHOWN))), False
        try:
            raw, written = _stored(raw)
        except TooDeep:
            return _refused(_Bad("record_too_deep"), None, b"null"), False
        if len(written) > RECORD_BYTES_AT_MOST:
            start = orjson.dumps(written[:RAW_SHOWN].decode(errors="ignore"))
            return _refused(_Bad("record_too_large"), self._key_of(raw), start), False
        try:
            record = self._record(raw)
        except _Bad as bad:
            return _refused(bad, self._key_of(raw), written), False
        record["raw"] = orjson.Fragment(written)
        return orjson.dumps({"record": record}, option=orjson.OPT_APPEND_NEWLINE), True

    def _record(self, raw: Any) -> dict[str, Any]:
        doubtful: list[str] = []
        found = _all_found(self._find, raw)
        record: dict[str, Any] = {"key": _key(found), "title": _title(found)}
        if summary := _text(found.get("summary")):
            record["summary"] = cut(lines_of(summary), SUMMARY_AT_MOST)
        if url := _text(found.get("url")):
            record["url"] = _web_address(self._url, url)
        for name, named in (("agency", "agency"), ("status", "status_said")):
            if text := _text(found.get(name)):
                record[named] = cut(line_of(text), FIELD_AT_MOST) or None
        self._put_dates(found, record, doubtful)
        _put_amounts(found, record, doubtful)
        if (changed := found.get(CHANGED)) is not None:
            record["changed"] = str(changed)
        extra = _all_found(self._extra, raw, "extra.")
        if doubtful:
            extra[DOUBTFUL] = doubtful
        if extra:
            record["extra"] = orjson.Fragment(_limited(extra))
        return record

    def _key_of(self, raw: Any) -> str | None:
        try:
            return _key(_all_found({"key": self._find["key"]}, raw)) if "key" in self._find else None
        except _Bad:
            return None

    def _put_dates(self, found: dict[str, Any], record: dict[str, Any], doubtful: list[str]) -> None:
        opens, closes = self._moment(found, "opens_at"), self._moment(found, "closes_at")
        if opens.written:
            record["opens_at"] = opens.written
        if closes.written:
            record["closes_at"], record["closes_on"] = closes.written, closes.day
        if opens.at and closes.at and closes.at < opens.at:
            doubtful.append("closes_before_it_opens")
        if opens.is_sentinel:
            doubtful.append("opens_at_is_no_date")
        if closes.is_sentinel:
            doubtful.append("closes_at_is_no_date")

    def _moment(self, found: dict[str, Any], name: str) -> Moment:
        try:
            return moment(found.get(name), self._zone, at_end=name == "closes_at")
        except UnreadableDate:
            raise _Bad("unreadable_date", name) from None
        except DateOutOfRange:
            raise _Bad("date_out_of_range", name) from None


def _all_found(searches: dict[str, Find], raw: Any, prefix: str = "") -> dict[str, Any]:
    found, name = {}, ""
    try:
        for name, search in searches.items():
            found[name] = search(raw)
    except ExpressionFailed:
        raise _Bad("expression_failed", prefix + name) from None
    return found


def _key(found: dict[str, Any]) -> str:
    value = found.get("key")
    key = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not key:
        raise _Bad("no_key", "key")
    if len(key) * 4 > KEY_BYTES_AT_MOST and len(key.encode()) > KEY_BYTES_AT_MOST:
        raise _Bad("key_too_long", "key")
    return key


def _title(found: dict[str, Any]) -> str:
    title = cut(line_of(_text(found.get("title")) or ""), TITLE_AT_MOST)
    if not title:
        raise _Bad("no_title", "title")
    return title


def _put_amounts(found: dict[str, Any], record: dict[str, Any], doubtful: list[str]) -> None:
    for name in ("amount_min", "amount_max"):
        try:
            value, is_doubtful = amount(found.get(name))
        except AmountOutOfRange:
            raise _Bad("amount_out_of_range", name) from None
        if value is not None:
            record[name] = value
        if is_doubtful:
            doubtful.append(f"{name}_is_no_number")
    if currency := _text(found.get("currency")):
        if _CURRENCY.fullmatch(currency.strip().upper()):
            record["currency"] = currency.strip().upper()
        else:
            doubtful.append("currency_is_no_code")


def _text(found: Any) -> str | None:
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(found)
    if isinstance(found, list):
        return ", ".join(str(one) for one in found if isinstance(one, str | int | float))
    return None


def _stored(raw: Any) -> tuple[Any, bytes]:
    """A record that can be stored, and its JSON. Most need no change. Raises TooDeep."""
    try:
        written = orjson.dumps(raw)
    except (orjson.JSONEncodeError, RecursionError):  # a lone surrogate, or a number that is too large
        written = None
    if written is None or b"\\u0000" in written:
        raw = clean(raw)
        written = orjson.dumps(raw)
    return raw, written


def _limited(extra: dict[str, Any]) -> bytes:
    written = orjson.dumps(extra)
    if len(written) > EXTRA_BYTES_AT_MOST:
        raise _Bad("extra_too_large", "extra")
    return written


def _refused(bad: _Bad, key: str | None, raw: bytes) -> bytes:
    refused = {"reason": bad.reason, "field": bad.field, "key": key, "raw": orjson.Fragment(raw)}
    return orjson.dumps({"refused": refused}, option=orjson.OPT_APPEND_NEWLINE)


def _web_address(page: str, url: str) -> str | None:
    """The whole address, if it is one of the web."""
    url = line_of(url)
    if _USUAL_URL.fullmatch(url):
        return url if len(url) <= URL_AT_MOST else None
    try:
        if not url.startswith(("https://", "http://")):
            url = urljoin(page, url)
        is_of_the_web = urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return None
    return url if is_of_the_web and len(url) <= URL_AT_MOST else None
