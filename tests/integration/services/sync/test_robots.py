"""robots.txt: who may read what, and what servers answer in place of it."""

import pytest

from libs.common.db import Database
from services.sync.refusals import RobotsRefuse, SourceUnavailable
from services.sync.robots import rules_for
from tests.fetching import ask_of, fetching_here, lines_of
from tests.scripted_source import Asked, Told, scripted_source

PAGE = b'<script type="application/ld+json">{"@type": "JobPosting", "@id": "1", "title": "a"}</script>'


@pytest.mark.parametrize(
    ("text", "allowed", "delay_s"),
    [
        ("", True, 0),
        ("User-agent: *\nDisallow: /", False, 0),
        ("User-agent: *\nDisallow: /\n\nUser-agent: Argosy\nDisallow:", True, 0),
        ("User-agent: *\nDisallow: /*?page=\nAllow: /jobs", True, 0),
        ("User-agent: *\nDisallow: /jobs$", False, 0),
        ("User-agent: *\nCrawl-delay: 5", True, 5),
        ("User-agent: *\nCrawl-delay: 86400", True, 60),
        ("<html>no rules</html>", True, 0),
        ("User-agent: *\nDisallow: /" + "*a" * 1_000, True, 0),
    ],
)
def test_rules(text: str, allowed: bool, delay_s: float) -> None:
    assert rules_for(text, "https://example.org/jobs") == (allowed, delay_s)


@pytest.mark.parametrize(
    ("told", "refusal"),
    [
        (Told(status=404), None),
        (Told(status=403), None),
        (Told(status=500), SourceUnavailable),
        (Told(b"User-agent: *\nDisallow: /"), RobotsRefuse),
        (Told(b"# " + b"x" * 600_000 + b"\nUser-agent: *\nDisallow: /"), None),
    ],
)
async def test_what_is_there_in_place_of_it(
    sync_database: Database, told: Told, refusal: type[Exception] | None
) -> None:
    def answer(asked: Asked) -> Told:
        return told if asked.target == "/robots.txt" else Told(PAGE)

    async with fetching_here(sync_database) as pages, scripted_source(answer) as source:
        if refusal is None:
            lines_of(await pages.fetch(ask_of(source, format="jsonld")))
            await sync_database.fetch("UPDATE sync.hosts SET next_at = now()")
            lines_of(await pages.fetch(ask_of(source, format="jsonld")))
            assert [asked.target for asked in source.asked] == ["/robots.txt", "/feed", "/feed"]
        else:
            with pytest.raises(refusal):
                await pages.fetch(ask_of(source, format="jsonld"))
            assert [asked.target for asked in source.asked] == ["/robots.txt"]


async def test_other_formats_do_not_ask_for_it(sync_database: Database) -> None:
    feed = b"<rss version='2.0'><channel><title>a</title></channel></rss>"
    async with fetching_here(sync_database) as pages, scripted_source(lambda asked: Told(feed)) as source:
        lines_of(await pages.fetch(ask_of(source)))
    assert [asked.target for asked in source.asked] == ["/feed"]
