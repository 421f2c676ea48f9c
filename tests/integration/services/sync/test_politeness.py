"""How a server sees its reader. Each row is a behaviour that is asked of feed readers; a score of less fails.

The rows are those that authors publish, as in https://rachelbythebay.com/fs/help.html. docs/sync.md has the
same table; a test of this file compares them.
"""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from libs.common.db import Database
from services.sync.page import NotModified, Page, Pages, Validators
from services.sync.refusals import RobotsRefuse, SourceStopped, SourceUnavailable, Wait
from tests.fetching import AGENT_PAGE, ask_of, fetching_here, lines_of
from tests.scripted_source import Asked, ScriptedSource, Told, scripted_source

ETAG, DATE = 'W/"odd, but mine"', "Wed, 1 Jul 2026 1:00:00 +0200"
FEED = b"<rss version='2.0'><channel><title>a</title><item><guid>1</guid><title>b</title></item></channel></rss>"
GRANT = b'<script type="application/ld+json">{"@type": "JobPosting", "@id": "1", "title": "a"}</script>'
Check = Callable[[Pages, Database], Awaitable[None]]
ROWS: dict[str, Check] = {}


def row(behaviour: str) -> Callable[[Check], Check]:
    """A row of the table."""

    def add(check: Check) -> Check:
        ROWS[behaviour] = check
        return check

    return add


@pytest.fixture
async def pages(sync_database: Database) -> AsyncIterator[Pages]:
    async with fetching_here(sync_database) as made:
        yield made


def told(body: bytes = FEED, status: int = 200, **headers: str) -> Told:
    return Told(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


async def kept(pages: Pages, source: ScriptedSource, validators: dict[str, Validators]) -> dict[str, Validators]:
    """Fetch a feed. Returns the validators that are kept for the next time."""
    page = await pages.fetch(ask_of(source, validators=validators))
    if isinstance(page, Page):
        lines_of(page)
    return {page.url: page.validators}


@row("Sends `ETag` and `Last-Modified` back as they came, letter by letter, both of them")
async def verbatim(pages: Pages, database: Database) -> None:
    async with scripted_source(lambda asked: told(ETag=ETAG, Last_Modified=DATE)) as source:
        await kept(pages, source, await kept(pages, source, {}))
    assert [asked.headers.get("if-none-match") for asked in source.asked] == [None, ETAG]
    assert [asked.headers.get("if-modified-since") for asked in source.asked] == [None, DATE]


@row("Takes a new `ETag` or `Last-Modified` also when the body is the same, and with a 304")
async def replaced(pages: Pages, database: Database) -> None:
    answers = iter(
        [told(ETag="1", Last_Modified="a"), told(ETag="2", Last_Modified="a"), told(b"", 304, ETag="3"), told()]
    )
    async with scripted_source(lambda asked: next(answers)) as source:
        validators: dict[str, Validators] = {}
        for _ in range(4):
            validators = await kept(pages, source, validators)
    assert [asked.headers.get("if-none-match") for asked in source.asked] == [None, "1", "2", "3"]
    assert [asked.headers.get("if-modified-since") for asked in source.asked] == [None, "a", "a", "a"]


@row("Invents neither: a feed without them is asked without conditions")
async def none_invented(pages: Pages, database: Database) -> None:
    async with scripted_source(lambda asked: told()) as source:
        await kept(pages, source, await kept(pages, source, {}))
    assert not {"if-none-match", "if-modified-since"} & source.asked[-1].headers.keys()


@row("Forgets one that the newest answer no longer has")
async def forgotten(pages: Pages, database: Database) -> None:
    answers = iter([told(ETag="1", Last_Modified="a"), told(Last_Modified="b"), told()])
    async with scripted_source(lambda asked: next(answers)) as source:
        validators: dict[str, Validators] = {}
        for _ in range(3):
            validators = await kept(pages, source, validators)
    assert "if-none-match" not in source.asked[-1].headers
    assert source.asked[-1].headers["if-modified-since"] == "b"


@row("Understands 304, and reads nothing then")
async def not_modified(pages: Pages, database: Database) -> None:
    async with scripted_source(lambda asked: told(b"", 304)) as source:
        url = f"{source.url}/feed"
        page = await pages.fetch(ask_of(source, validators={url: Validators("1", None)}))
    assert page == NotModified(url, None, Validators("1", None))


@row("Heeds `Retry-After` in seconds, with 429 and with 503")
async def retry_after_seconds(pages: Pages, database: Database) -> None:
    for status in (429, 503):
        await _told_to_wait(pages, database, told(b"", status, Retry_After="600"), timedelta(seconds=600))


@row("Heeds `Retry-After` as a date")
async def retry_after_date(pages: Pages, database: Database) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)
    await _told_to_wait(pages, database, told(b"", 429, Retry_After=at), timedelta(hours=3))


@row("Heeds `Retry-After` for 14 days")
async def retry_after_long(pages: Pages, database: Database) -> None:
    await _told_to_wait(pages, database, told(b"", 503, Retry_After=str(14 * 86_400)), timedelta(days=14))


@row("Waits after a 429 that does not say for how long")
async def too_many(pages: Pages, database: Database) -> None:
    await _told_to_wait(pages, database, told(b"", 429), timedelta(hours=1))


async def _told_to_wait(pages: Pages, database: Database, answer: Told, expected: timedelta) -> None:
    """And nobody else asks that host meanwhile."""
    async with scripted_source(lambda asked: answer) as source:
        for _ in range(2):
            with pytest.raises(Wait) as wait:
                await pages.fetch(ask_of(source))
        assert len(source.asked) == (1 if "Retry-After" in answer.headers else 2)
        if len(source.asked) == 2:
            assert expected - timedelta(seconds=60) < wait.value.until - datetime.now(UTC) <= expected
        await database.fetch("UPDATE sync.hosts SET next_at = now()")
        with pytest.raises(Wait) as wait:
            await pages.fetch(ask_of(source))
    assert expected - timedelta(seconds=60) < wait.value.until - datetime.now(UTC) <= expected


@row("Heeds `max-age`, `ttl` and `skipHours`")
async def freshness(pages: Pages, database: Database) -> None:
    hour = (datetime.now(UTC) + timedelta(hours=5)).hour
    asks = b"<ttl>240</ttl><skipHours><hour>%d</hour></skipHours><title>" % hour
    async with scripted_source(
        lambda asked: told(FEED.replace(b"<title>", asks, 1), Cache_Control="max-age=18000")
    ) as source:
        page = await pages.fetch(ask_of(source))
    lines_of(page)
    assert page.fresh_until is not None
    assert timedelta(hours=4, minutes=59) < page.fresh_until - datetime.now(UTC) <= timedelta(hours=6)
    assert page.fresh_until.hour != hour


@row("Asks a host one thing at a time")
async def one_at_a_time(pages: Pages, database: Database) -> None:
    async def slowly(asked: Asked) -> Told:
        await asyncio.sleep(0.05)
        return told()

    async with scripted_source(slowly) as source:
        found = await asyncio.gather(*(pages.fetch(ask_of(source)) for _ in range(4)), return_exceptions=True)
    for page in found:
        assert isinstance(page, Page | Wait)
        if isinstance(page, Page):
            lines_of(page)
    assert len(source.asked) >= 1
    assert source.at_once == 1


@row("Leaves a host alone that fails, longer each time")
async def backs_off(pages: Pages, database: Database) -> None:
    waits = []
    async with scripted_source(lambda asked: told(b"", 500)) as source:
        for _ in range(3):
            with pytest.raises(SourceUnavailable):
                await pages.fetch(ask_of(source))
            with pytest.raises(Wait):
                await pages.fetch(ask_of(source))
            (found,) = await database.fetch(
                "SELECT extract(epoch FROM next_at - now())::float8 AS s FROM sync.hosts"
            )
            waits.append(found["s"])
            await database.fetch("UPDATE sync.hosts SET next_at = now()")
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[0]
    assert len(source.asked) == 3


@row("Learns of a new address from 301 and 308, not from 302 and 307")
async def moves(pages: Pages, database: Database) -> None:
    for status, moved in ((301, True), (308, True), (302, False), (307, False)):
        redirect = told(b"", status, Location="/new")

        def answer(asked: Asked, redirect: Told = redirect) -> Told:
            return told() if asked.target == "/new" else redirect

        async with scripted_source(answer) as source:
            page = await pages.fetch(ask_of(source))
        lines_of(page)
        assert isinstance(page, Page)
        assert page.moved_to == (f"{source.url}/new" if moved else None)


@row("Stops at 410")
async def gone(pages: Pages, database: Database) -> None:
    async with scripted_source(lambda asked: told(b"", 410)) as source:
        with pytest.raises(SourceStopped):
            await pages.fetch(ask_of(source))


@row("Takes packed answers, and asks for what it can unpack")
async def packed(pages: Pages, database: Database) -> None:
    async with scripted_source(lambda asked: told(gzip.compress(FEED), Content_Encoding="gzip")) as source:
        assert len(lines_of(await pages.fetch(ask_of(source)))) == 1
    assert source.asked[0].headers["accept-encoding"] == "gzip"


@row("Sends no cookies back, and no Referer")
async def no_cookies(pages: Pages, database: Database) -> None:
    async with scripted_source(lambda asked: told(Set_Cookie="a=b; Path=/")) as source:
        for _ in range(2):
            await kept(pages, source, {})
    assert not {"cookie", "referer"} & source.asked[-1].headers.keys()


@row("Says who it is, and where to complain")
async def says_who(pages: Pages, database: Database) -> None:
    async with scripted_source(lambda asked: told()) as source:
        await kept(pages, source, {})
    assert re.fullmatch(rf"Argosy/[\w.]+ \(\+{AGENT_PAGE}\)", source.asked[0].headers["user-agent"])


@row("Asks for each thing once: no HEAD before, no query added, no second try at once")
async def asks_once(pages: Pages, database: Database) -> None:
    async with scripted_source(lambda asked: told(b"", 502)) as source:
        with pytest.raises(SourceUnavailable):
            await pages.fetch(ask_of(source))
    assert [(asked.method, asked.target) for asked in source.asked] == [("GET", "/feed")]


@row("Honours robots.txt, with its delay, where pages for people are read")
async def robots(pages: Pages, database: Database) -> None:
    rules = b"User-agent: *\nDisallow: /\n\nUser-agent: argosy\nDisallow: /private\nCrawl-delay: 30\n"

    def answer(asked: Asked) -> Told:
        return told(rules if asked.target == "/robots.txt" else GRANT)

    async with scripted_source(answer) as source:
        with pytest.raises(RobotsRefuse):
            await pages.fetch(ask_of(f"{source.url}/private/1", format="jsonld"))
        page = await pages.fetch(ask_of(f"{source.url}/jobs", format="jsonld"))
        assert len(lines_of(page)) == 1
        with pytest.raises(Wait):
            await pages.fetch(ask_of(f"{source.url}/jobs", format="jsonld"))
    assert [asked.target for asked in source.asked] == ["/robots.txt", "/jobs"]


@pytest.mark.parametrize("behaviour", ROWS)
async def test_politeness(behaviour: str, pages: Pages, sync_database: Database) -> None:
    await ROWS[behaviour](pages, sync_database)


def test_the_documentation_has_this_table() -> None:
    documentation = Path(__file__).parents[4] / "docs" / "sync.md"
    lines = documentation.read_text().splitlines()
    assert [behaviour for behaviour in ROWS if f"| {behaviour} |" not in lines] == []
