"""Records of feeds, all with the same names."""

import time
from typing import Any

import orjson
import pytest

from libs.common.contracts.sync import SourceSpec
from services.sync.reading.answers import About, Found
from services.sync.reading.feed_records import feed_records
from services.sync.refusals import UnreadableBody

SPEC = SourceSpec.model_validate({"url": "https://example.org/feed", "format": "feed"})
ITEM = """<item><title>Rural water &amp;amp; light</title><link>/17</link><guid>g17</guid>
<description>&lt;p&gt;Text</description><pubDate>Wed, 01 Jul 2026 21:00:00 GMT</pubDate>
<category>a</category><category>b</category></item>"""
RSS = f'<?xml version="1.0"?><rss version="2.0"><channel><title>Grants</title>{ITEM}</channel></rss>'
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>Grants</title><entry><title>Water</title><id>g17</id>
<link href="https://example.org/17"/><updated>2026-07-01T23:00:00+02:00</updated>
<content type="html">&lt;b&gt;Text</content><author><name>EPA</name></author></entry></feed>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>Grants</title></channel>
<item rdf:about="g17"><title>Water</title><link>https://example.org/17</link><dc:date>2026-07-01</dc:date></item></rdf:RDF>"""
JSON = orjson.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "Grants",
        "items": [
            {
                "id": "g17", "title": "Water", "url": "https://example.org/17", "content_html": "<b>Text",
                "date_published": "2026-07-01T23:00:00+02:00", "authors": [{"name": "EPA"}], "tags": ["a"],
            }
        ],
    }
).decode()  # fmt: skip


def read(body: str | bytes, content_type: str = "") -> Found:
    body = body if isinstance(body, bytes) else body.encode()
    return feed_records(body, SPEC, About("https://example.org/feed", content_type))


def records(body: str | bytes, content_type: str = "") -> list[Any]:
    return list(read(body, content_type).records)


def test_rss() -> None:
    (record,) = records(RSS)
    expected = {
        "title": "Rural water &amp; light", "link": "/17", "id": "g17", "summary": "<p>Text",
        "published": "2026-07-01T21:00:00Z", "tags": ["a", "b"],
    }  # fmt: skip
    assert expected.items() <= record.items()


@pytest.mark.parametrize("body", [ATOM, RDF, JSON])
def test_other_kinds(body: str) -> None:
    (record,) = records(body)
    assert {"title": "Water", "link": "https://example.org/17", "id": "g17"}.items() <= record.items()
    dates = {record.get("published"), record.get("updated")}
    assert dates & {"2026-07-01T21:00:00Z", "2026-07-01T00:00:00Z", "2026-07-01T23:00:00+02:00"}
    if body != RDF:
        assert record["content"] == "<b>Text"
        assert record["author"] == "EPA"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (RSS.replace("light", "é").replace("?>", " encoding='iso-8859-1'?>").encode("latin-1"), ""),
        (RSS.replace("light", "é").encode("cp1252"), "application/rss+xml; charset=windows-1252"),
        (b"\xef\xbb\xbf" + RSS.replace("light", "é").encode(), ""),
    ],
)
def test_encodings(body: bytes, content_type: str) -> None:
    (record,) = records(body, content_type)
    assert record["title"] == "Rural water &amp; é"


@pytest.mark.parametrize("cut", [0.5, 0.7, 0.9])
def test_a_feed_that_breaks_off_gives_what_is_there(cut: float) -> None:
    body = RSS.replace(ITEM, ITEM * 10)
    assert len(records(body[: int(len(body) * cut)])) >= int(10 * cut) - 1


@pytest.mark.parametrize(
    "body", ["", "  ", "<html><body>No feed</body></html>", "{}", '{"version": 1}', "[1", "text", "\x00"]
)
def test_what_is_no_feed(body: str) -> None:
    with pytest.raises(UnreadableBody):
        records(body)


def test_an_empty_feed() -> None:
    assert records(RSS.replace(ITEM, "")) == []


BOMB = "".join(f'<!ENTITY a{number} "{f"&a{number - 1};" * 10}">' for number in range(1, 12))


@pytest.mark.parametrize(
    "doctype",
    [
        f'<!DOCTYPE rss [<!ENTITY a0 "lol">{BOMB}]>',
        '<!DOCTYPE rss [<!ENTITY a11 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE rss [<!ENTITY % a SYSTEM "http://127.0.0.1/a.dtd">%a;]>',
    ],
)
def test_entities_are_not_expanded(doctype: str) -> None:
    body = RSS.replace("<rss", f"{doctype}<rss").replace("<p", "&a11;<p").replace("Grants", "&a11;")
    began = time.process_time()
    try:
        found = records(body)
    except UnreadableBody:
        found = []
    assert "root:" not in str(found)
    assert len(str(found)) < 10_000
    assert time.process_time() - began < 20


def test_how_often_a_feed_wants_to_be_asked() -> None:
    asks = "<ttl> 90 </ttl><skipHours><hour>0</hour><hour>24</hour><hour>13</hour></skipHours>"
    found = read(RSS.replace("<title>Grants", f"{asks}<title>Grants"))
    assert (found.ttl_s, found.skip_hours) == (5_400, (0, 13))
    assert (read(RSS).ttl_s, read(RSS).skip_hours) == (None, ())
