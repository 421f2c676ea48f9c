"""Pages and refusals, from what servers answer."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from libs.common.db import Database
from libs.common.errors import ArgosyError
from services.sync import fetching as module
from services.sync import outgoing
from services.sync.page import NotModified, Page, Pages, Position
from services.sync.refusals import (
    AddressRefused,
    PagingLoops,
    ReadingTooSlow,
    SourceMissing,
    SourceRefused,
    SourceStopped,
    SourceTooSlow,
    SourceUnavailable,
    TooLarge,
    UnreadableBody,
    Wait,
)
from tests.fetching import AGENT_PAGE, ask_of, fetching_here, lines_of
from tests.scripted_source import Asked, Told, scripted_source, told_json

FEED = b"""<rss version="2.0"><channel><title>Grants</title><ttl>120</ttl>
<item><guid>1</guid><title>Water</title><link>/1</link></item><item><title>No key</title></item></channel></rss>"""
JSON: dict[str, Any] = {"format": "json", "mapping": {"records": "items", "key": "id", "title": "name"}}


@pytest.fixture
async def pages(sync_database: Database) -> AsyncIterator[Pages]:
    async with fetching_here(sync_database) as made:
        yield made


async def test_a_page(pages: Pages) -> None:
    validators = {"ETag": 'W/"1"', "Last-Modified": "yesterday, about noon"}
    async with scripted_source(lambda asked: Told(FEED, headers=validators)) as source:
        page = await pages.fetch(ask_of(source))
        assert isinstance(page, Page)
        record, other = lines_of(page)
        assert record.record is not None
        assert (record.record.key, record.record.title, record.record.url) == ("1", "Water", f"{source.url}/1")
        assert other.record is not None
        assert other.record.key == "No key"
        assert (page.url, page.next, page.moved_to, page.wire_bytes) == (
            f"{source.url}/feed",
            None,
            None,
            len(FEED),
        )
        assert (page.validators.etag, page.validators.last_modified) == ('W/"1"', "yesterday, about noon")
        assert page.fresh_until is not None
        assert 7_000 < (page.fresh_until - datetime.now(UTC)).total_seconds() <= 7_200
        assert source.asked[0].headers["user-agent"] == module.user_agent(AGENT_PAGE)


@pytest.mark.parametrize(
    "paging",
    [
        {"kind": "offset", "parameter": "at", "size": ["n", 2]},
        {"kind": "offset", "in": "body", "parameter": "at", "size": ["n", 2]},
        {"kind": "page", "parameter": "at", "first": 0, "size": ["n", 2]},
        {"kind": "cursor", "parameter": "at", "cursor": "items[-1].id"},
        {"kind": "json_link", "link": "next"},
        {"kind": "link_header"},
    ],
)
async def test_all_pages_of_each_kind(pages: Pages, paging: dict[str, Any]) -> None:
    records = [{"id": number, "name": f"Grant {number}"} for number in range(1, 6)]

    def answer(asked: Asked) -> Told:
        query = parse_qs(urlsplit(asked.target).query)
        at = int(orjson.loads(asked.body)["at"] if asked.body else query.get("at", ["0"])[0])
        first = at * 2 if paging["kind"] == "page" else at
        shown = records[first : first + 2]
        there_is_more = first + 2 < len(records)
        link = f"/list?at={first + 2}" if there_is_more else None
        link_header = {"Link": f'<{link}>; rel="next"'} if link else {}
        return told_json({"items": shown, "next": link}, **link_header)

    async with scripted_source(answer) as source:
        method = "POST" if paging.get("in") == "body" else "GET"
        spec = JSON | {"url": f"{source.url}/list", "paging": paging, "method": method}
        position, found = Position(), list[str]()
        for _ in range(10):
            page = await pages.fetch(ask_of("", position=position, **spec))
            found += [line.record.key for line in lines_of(page) if line.record]
            assert isinstance(page, Page)
            if page.next is None:
                break
            position = orjson.loads(orjson.dumps(page.next))
    assert found == ["1", "2", "3", "4", "5"]
    assert len(source.asked) <= 4


@pytest.mark.parametrize(
    ("told", "refusal"),
    [
        (Told(b"<html><body>Please log in</body></html>"), UnreadableBody),
        (Told(b""), UnreadableBody),
        (Told(b"{}"), UnreadableBody),
        (Told(status=204), UnreadableBody),
        (Told(status=206), UnreadableBody),
        (Told(status=401), SourceRefused),
        (Told(status=403), SourceRefused),
        (Told(status=418), SourceRefused),
        (Told(status=404), SourceMissing),
        (Told(status=410), SourceStopped),
        (Told(status=500), SourceUnavailable),
        (Told(status=503), SourceUnavailable),
        (Told(status=304), SourceUnavailable),
        (Told(status=429), Wait),
        (Told(status=429, headers={"Retry-After": "120"}), Wait),
        (Told(status=503, headers={"Retry-After": "120"}), Wait),
        (Told(status=302), SourceUnavailable),
        (Told(status=302, headers={"Location": "/feed"}), SourceUnavailable),
        (Told(status=302, headers={"Location": "http://169.254.169.254/"}), AddressRefused),
        (Told(status=302, headers={"Location": "http://[::1]/"}), AddressRefused),
        (Told(status=302, headers={"Location": "file:///etc/passwd"}), AddressRefused),
        (Told(status=302, headers={"Location": "http://user:word@127.0.0.1/"}), AddressRefused),
        (Told(FEED, breaks_off=True), SourceUnavailable),
        (Told(FEED, pause_s=0.05), SourceTooSlow),
        (Told(gzip.compress(b"<rss>" + b" " * 10**7), headers={"Content-Encoding": "gzip"}), TooLarge),
        (Told(b" " * 10**6), TooLarge),
    ],
)
async def test_what_is_no_page(
    sync_database: Database, monkeypatch: pytest.MonkeyPatch, told: Told, refusal: type[ArgosyError]
) -> None:
    monkeypatch.setattr(
        module, "Caps", lambda total_s: outgoing.Caps(900_000, 2_000_000, total_s=1.0 if told.pause_s else 30.0)
    )
    async with fetching_here(sync_database) as pages, scripted_source(lambda asked: told) as source:
        with pytest.raises(refusal):
            await pages.fetch(ask_of(source))
        assert source.asked


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>secret</html>", "<html>secret"),
        (b"\x1b[31m" + b"x" * 10_000, "[31mxxx"),
    ],
)
async def test_the_beginning_of_a_body_is_told(pages: Pages, body: bytes, told: str) -> None:
    async with scripted_source(lambda asked: Told(body)) as source:
        with pytest.raises(UnreadableBody) as refused:
            await pages.fetch(ask_of(source, **JSON))
    assert told in str(refused.value)
    assert len(str(refused.value)) < 350
    assert str(refused.value).isprintable()


async def test_endless_pages_end(pages: Pages) -> None:
    page = told_json({"items": [{"id": 1, "name": "a"}], "next": "x"})
    async with scripted_source(lambda asked: page) as source:
        paging = {"kind": "cursor", "parameter": "at", "cursor": "next"}
        first = await pages.fetch(ask_of(source, paging=paging, **JSON))
        lines_of(first)
        assert isinstance(first, Page)
        with pytest.raises(PagingLoops):
            await pages.fetch(ask_of(source, paging=paging, position=first.next, **JSON))


async def test_headers_go_to_their_own_origin_only(pages: Pages) -> None:
    async with (
        scripted_source(lambda asked: Told(FEED)) as other,
        scripted_source(lambda asked: _elsewhere(asked, other.url)) as source,
    ):
        lines_of(await pages.fetch(ask_of(source, headers={"X-Api-Key": "k", "Authorization": "Bearer t"})))
    assert [asked.headers.get("x-api-key") for asked in source.asked] == ["k", "k"]
    (asked,) = other.asked
    assert not {"x-api-key", "authorization"} & asked.headers.keys()


def _elsewhere(asked: Asked, other: str) -> Told:
    return Told(status=307, headers={"Location": f"{other}/feed" if asked.target == "/b" else "/b"})


@pytest.mark.parametrize(
    ("statuses", "moved_to"),
    [((301,), "/1"), ((308, 301), "/2"), ((301, 302), "/1"), ((302, 301), None), ((307,), None), ((303,), None)],
)
async def test_where_a_feed_has_moved(pages: Pages, statuses: tuple[int, ...], moved_to: str | None) -> None:
    def answer(asked: Asked) -> Told:
        number = 0 if asked.target == "/feed" else int(asked.target[1:])
        if number == len(statuses):
            return Told(FEED)
        return Told(status=statuses[number], headers={"Location": f"/{number + 1}"})

    async with scripted_source(answer) as source:
        page = await pages.fetch(ask_of(source))
        lines_of(page)
        assert isinstance(page, Page)
        assert page.moved_to == (moved_to and source.url + moved_to)
        assert page.url == f"{source.url}/{len(statuses)}"


async def test_a_post_is_repeated_where_it_is_said_so(pages: Pages) -> None:
    def answer(asked: Asked) -> Told:
        if asked.target == "/feed":
            return Told(status=307, headers={"Location": "/a"})
        if asked.target == "/a":
            return Told(status=303, headers={"Location": "/b"})
        return told_json({"items": []})

    async with scripted_source(answer) as source:
        lines_of(await pages.fetch(ask_of(source, method="POST", body={"q": 1}, **JSON)))
    assert [(asked.method, asked.body) for asked in source.asked] == [
        ("POST", b'{"q":1}'),
        ("POST", b'{"q":1}'),
        ("GET", b""),
    ]


async def test_a_body_that_takes_too_long_to_read(sync_database: Database) -> None:
    body = b"<a>" * 2_000_000
    async with (
        fetching_here(sync_database, sync_read_timeout_s=0.2) as pages,
        scripted_source(lambda asked: Told(b"<rss>" + body)) as source,
    ):
        with pytest.raises((ReadingTooSlow, UnreadableBody)):
            await pages.fetch(ask_of(source))


async def test_nothing_is_left_of_refused_pages(pages: Pages) -> None:
    assert isinstance(pages, module.Fetcher)
    async with scripted_source(lambda asked: Told(b"no feed")) as source:
        for _ in range(3):
            with pytest.raises(UnreadableBody):
                await pages.fetch(ask_of(source))
    assert await asyncio.to_thread(lambda: list(pages.folder.iterdir())) == []


async def test_what_was_kept_is_mapped_anew(pages: Pages) -> None:
    assert isinstance(pages, module.Fetcher)
    kept = pages.folder / "kept"
    kept.write_bytes(b'{"id": 1, "name": "Water"}\n{"name": "No key"}\n')
    lines = await pages.map_anew(ask_of("http://example.org/", **JSON).spec, kept)
    first, second = map(orjson.loads, lines.read_bytes().splitlines())
    assert first["record"]["title"] == "Water"
    assert second["refused"]["reason"] == "no_key"


async def test_a_page_that_is_the_same(pages: Pages) -> None:
    headers = {"ETag": '"2"', "Cache-Control": "max-age=7200"}
    async with scripted_source(lambda asked: Told(FEED, headers=headers)) as source:
        page = await pages.fetch(ask_of(source))
        lines_of(page)
        assert isinstance(page, Page)
        source.script = lambda asked: Told(status=304, headers={"ETag": '"3"', "Cache-Control": "max-age=7200"})
        same = await pages.fetch(ask_of(source, validators={page.url: page.validators}))
    assert isinstance(same, NotModified)
    assert source.asked[-1].headers["if-none-match"] == '"2"'
    assert (same.url, same.validators.etag) == (page.url, '"3"')
    assert same.fresh_until is not None
