"""Records of pages for people."""

from typing import Any

import orjson
import pytest

from libs.common.contracts.sync import SourceSpec
from services.sync.page import Line
from services.sync.reading.answers import About
from services.sync.reading.jsonld_records import jsonld_records
from services.sync.reading.mapping import Mapper, Unreadable
from services.sync.refusals import UnreadableBody

SPEC = SourceSpec.model_validate({"url": "https://example.org/jobs", "format": "jsonld"})
POSTING = {
    "@context": "https://schema.org", "@type": "JobPosting", "title": "Engineer", "description": "<p>Build",
    "datePosted": "2026-11-01", "validThrough": "2026-12-23",
    "identifier": {"@type": "PropertyValue", "value": 17},
    "hiringOrganization": {"@type": "Organization", "name": "Argosy"}, "url": "/jobs/17",
    "baseSalary": {"currency": "EUR", "value": {"minValue": 50000, "maxValue": 60000}},
}  # fmt: skip


def page(*scripts: Any) -> bytes:
    parts = [one if isinstance(one, str) else orjson.dumps(one).decode() for one in scripts]
    tags = "".join(f"<script type='application/ld+json'>{part}</script>" for part in parts)
    return f"<!doctype html><script>var a = 1</script>{tags}<p>Text".encode()


def records(body: bytes) -> list[Any]:
    return list(jsonld_records(body, SPEC, About("https://example.org/jobs")).records)


@pytest.mark.parametrize(
    "body",
    [
        page(POSTING),
        page({"@graph": [{"@type": "WebPage"}, POSTING]}),
        page([POSTING]),
        page({"@type": "ItemList", "itemListElement": [{"@type": "ListItem", "item": POSTING}]}),
        page({"@type": "Organization"}, POSTING),
        page("{broken", POSTING),
        page(f"<!--{orjson.dumps(POSTING).decode()}-->"),
        orjson.dumps(POSTING),
    ],
)
def test_postings_are_found_wherever_they_are(body: bytes) -> None:
    assert records(body) == [POSTING]


def test_a_posting_is_mapped_without_a_mapping() -> None:
    written, _ = Mapper(SPEC, "https://example.org/jobs").line(POSTING)
    record = Line.model_validate_json(written).record
    assert record is not None
    assert record.model_dump(mode="json", exclude={"raw", "changed"}) == {
        "key": "17", "title": "Engineer", "summary": "Build", "url": "https://example.org/jobs/17",
        "agency": "Argosy",
        "opens_at": "2026-11-01T00:00:00Z", "closes_at": "2026-12-23T23:59:59Z", "closes_on": "2026-12-23",
        "status_said": None, "amount_min": "50000", "amount_max": "60000", "currency": "EUR", "extra": {},
    }  # fmt: skip


def test_a_bad_posting_costs_no_other() -> None:
    found = records(page('{"@type": "JobPosting", "title": }', POSTING))
    assert isinstance(found[0], Unreadable)
    assert found[1:] == [POSTING]


def test_a_page_without_postings() -> None:
    assert records(page({"@type": "WebPage"})) == []
    assert records(page("[" * 100_000)) == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"<script>1</script>", b"<script" * 50_000])
def test_what_has_no_json_ld(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        records(body)
