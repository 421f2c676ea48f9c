"""Where the pages of a source are: what to ask for one, and whether there is a next one.

A position is JSON of constant size that is kept with each page. Loops are found by Brent's method: a page is
compared with one mark, which moves to the pages 1, 2, 4, 8 and so on.
"""

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import orjson

from libs.common.contracts.sync import (
    PAGES_AT_MOST,
    CursorPaging,
    Incremental,
    JsonLinkPaging,
    LinkHeaderPaging,
    NoPaging,
    OffsetPaging,
    PageNumberPaging,
    Paging,
    Place,
    SourceSpec,
)
from services.sync.addresses import check_url
from services.sync.outgoing import Request
from services.sync.page import Position
from services.sync.refusals import PagingLoops, TooLarge, UnreadableBody

CURSOR_BYTES_AT_MOST = 4_000
EMPTY_PAGES_AT_MOST = 100
"""In a row: some sources filter after they have cut their pages."""
_LINK = re.compile(r'<([^<>]*)>((?:[^",<]|"[^"]*")*)')
_REL_NEXT = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next\s*(?:;|$))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What has been seen of a page."""

    url: str
    records: int
    """Also those that do not pass."""
    digest: str
    """Of all its records."""
    told: Any = None
    """By the page itself, of the next one: a cursor or an address."""
    headers: Mapping[str, str] = field(default_factory=dict)


def request_of(spec: SourceSpec, headers: Mapping[str, str], position: Position, bookmark: str | None) -> Request:
    """What to ask for the page at `position`."""
    at = position.get("at")
    if at is not None and isinstance(spec.paging, JsonLinkPaging | LinkHeaderPaging):
        return _request(spec, headers, str(at), [])
    parameters = _incremental(spec.incremental, bookmark) + _paged(spec.paging, at)
    return _request(spec, headers, spec.url, parameters)


def next_position(paging: Paging, position: Position, facts: PageFacts) -> Position | None:
    """Where the next page begins; None: this was the last. Raises PagingLoops, TooLarge, UnreadableBody."""
    at = _next(paging, position.get("at"), facts)
    if at is None:
        return None
    page = int(position.get("page", 1))
    if page >= PAGES_AT_MOST:
        raise TooLarge(f"The source has more than {PAGES_AT_MOST} pages.")
    empty = 0 if facts.records else int(position.get("empty", 0)) + 1
    if empty > EMPTY_PAGES_AT_MOST:
        raise PagingLoops(f"The source had {empty} empty pages in a row, and names another one.")
    now = {"page": page, "at": _digest(at), "records": facts.digest if facts.records else None}
    mark = position.get("mark")
    if mark and (mark["at"] == now["at"] or (facts.records and mark["records"] == now["records"])):
        raise PagingLoops(f"Page {page} of the source is the same as page {mark['page']}.")
    if not mark or page >= 2 * mark["page"]:
        mark = now
    return {"at": at, "page": page + 1, "mark": mark} | ({"empty": empty} if empty else {})


def _next(paging: Paging, at: Any, facts: PageFacts) -> Any:
    match paging:
        case NoPaging():
            return None
        case OffsetPaging():
            return None if facts.records < paging.size[1] else int(at or 0) + facts.records
        case PageNumberPaging():
            return None if facts.records < paging.size[1] else int(paging.first if at is None else at) + 1
        case CursorPaging():
            return _cursor(facts.told)
        case JsonLinkPaging():
            return _address(facts.url, _cursor(facts.told))
        case LinkHeaderPaging():
            return _address(facts.url, next_link(facts.headers.get("link", "")))


def _cursor(told: Any) -> Any:
    if told is None or told is False or told == "":
        return None
    if isinstance(told, bool | list | dict):
        raise UnreadableBody("What the page says of the next one is neither a text nor a number.")
    if len(str(told).encode(errors="replace")) > CURSOR_BYTES_AT_MOST:
        raise TooLarge("What the page says of the next one is too long.")
    return told


def _address(of_page: str, link: Any) -> str | None:
    if link is None:
        return None
    if not isinstance(link, str):
        raise UnreadableBody("The address of the next page is not a text.")
    try:
        url = urljoin(of_page, link)
    except ValueError:
        raise UnreadableBody("The address of the next page cannot be read.") from None
    check_url(url)
    return url


def next_link(header: str) -> str | None:
    """The target with rel=next in a header Link, RFC 8288."""
    return next((target for target, rest in _LINK.findall(header) if _REL_NEXT.search(rest)), None)


def _digest(value: Any) -> str:
    return blake2b(orjson.dumps(value), digest_size=8).hexdigest()


Parameter = tuple[Place, str, Any]


def _paged(paging: Paging, at: Any) -> list[Parameter]:
    match paging:
        case OffsetPaging():
            return [(paging.place, paging.parameter, at or 0), (paging.place, *paging.size)]
        case PageNumberPaging():
            number = paging.first if at is None else at
            return [(paging.place, paging.parameter, number), (paging.place, *paging.size)]
        case CursorPaging() if at is not None:
            return [(paging.place, paging.parameter, at)]
        case _:
            return []


def _incremental(incremental: Incremental | None, bookmark: str | None) -> list[Parameter]:
    if incremental is None or bookmark is None:
        return []
    return [(incremental.place, incremental.parameter, since(bookmark, incremental.overlap_s))]


def since(bookmark: str, overlap_s: int) -> str:
    """The bookmark, so many seconds earlier, written as it was. What is no date stays as it is."""
    earlier = timedelta(seconds=overlap_s)
    written: list[Callable[[], str]] = [
        lambda: _seconds_earlier(bookmark, overlap_s),
        lambda: (date.fromisoformat(bookmark) - _whole_days(earlier)).isoformat(),
        lambda: _like(bookmark, datetime.fromisoformat(bookmark) - earlier),
    ]
    for write in written:
        try:
            return write()
        except (ValueError, OverflowError):
            continue
    return bookmark


def _seconds_earlier(bookmark: str, overlap_s: int) -> str:
    """Of seconds, or of milliseconds, since 1970."""
    if not re.fullmatch(r"\d{9,13}", bookmark):
        raise ValueError
    return str(int(bookmark) - overlap_s * (1000 if len(bookmark) > 11 else 1))


def _whole_days(duration: timedelta) -> timedelta:
    return timedelta(days=-(-duration // timedelta(days=1)))


def _like(bookmark: str, moment: datetime) -> str:
    separator = "T" if "T" in bookmark else " "
    written = moment.isoformat(separator)
    return written.replace("+00:00", "Z") if bookmark.endswith("Z") else written


def _request(spec: SourceSpec, headers: Mapping[str, str], url: str, parameters: list[Parameter]) -> Request:
    in_query = [(name, str(value)) for place, name, value in parameters if place is Place.QUERY]
    in_body = {name: value for place, name, value in parameters if place is Place.BODY}
    body = None
    if spec.method == "POST":
        body = orjson.dumps(copy.deepcopy(spec.body or {}) | in_body)
    return Request(_with_query(url, in_query), spec.method, headers, body=body)


def _with_query(url: str, parameters: list[tuple[str, str]]) -> str:
    """The address with these parameters, in place of those of the same name. Without any, it stays as it is."""
    if not parameters:
        return url
    parts = urlsplit(url)
    names = {name for name, _ in parameters}
    others = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    return parts._replace(query=urlencode(others + parameters), fragment="").geturl()
