"""One record at a time: mapped, or refused with a reason and a field."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.sync import SourceSpec
from services.sync.page import Line
from services.sync.reading.mapping import Mapper, Unreadable

MAPPING = {
    "key": "id", "title": "name", "summary": "text", "url": "link", "agency": "by", "opens_at": "opens",
    "closes_at": "closes", "amount_min": "least", "amount_max": "most", "currency": "money", "status": "status",
    "extra": {"tags": "tags"},
}  # fmt: skip


def mapper(**more: Any) -> Mapper:
    spec = {
        "url": "https://example.org/",
        "format": "json",
        "time_zone": "America/New_York",
        "mapping": MAPPING,
    } | more
    return Mapper(SourceSpec.model_validate(spec), "https://example.org/list/")


def line(raw: Any, **more: Any) -> Line:
    written, passes = mapper(**more).line(raw)
    assert written.endswith(b"\n")
    assert written.count(b"\n") == 1
    read = Line.model_validate_json(written)
    assert (read.record is not None) is passes
    assert (read.refused is None) is passes
    return read


def test_all_fields() -> None:
    raw = {
        "id": 17, "name": "<b>Rural</b> water", "text": "<p>One</p><p>Two</p>", "link": "../17", "by": "EPA",
        "opens": "2026-11-01", "closes": "2026-12-23", "least": "$1,000", "most": 5000, "money": "usd",
        "status": "Open", "tags": ["a"],
    }  # fmt: skip
    record = line(raw).record
    assert record is not None
    assert record.raw == raw
    assert record.model_dump(mode="json", exclude={"raw", "changed"}) == {
        "key": "17", "title": "Rural water", "summary": "One\n\nTwo", "url": "https://example.org/17",
        "agency": "EPA", "opens_at": "2026-11-01T04:00:00Z",
        "closes_at": "2026-12-24T04:59:59Z", "closes_on": "2026-12-23",
        "status_said": "Open", "amount_min": "1000", "amount_max": "5000", "currency": "USD",
        "extra": {"tags": ["a"]},
    }  # fmt: skip


GOOD = {"id": "1", "name": "Water"}


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        ({"name": "Water"}, "no_key", "key"),
        ({"id": {}, "name": "Water"}, "no_key", "key"),
        ({"id": True, "name": "Water"}, "no_key", "key"),
        ({"id": "\x00 ", "name": "Water"}, "no_key", "key"),
        ({"id": "é" * 257, "name": "Water"}, "key_too_long", "key"),
        ({"id": "1"}, "no_title", "title"),
        ({"id": "1", "name": "<p></p>"}, "no_title", "title"),
        (GOOD | {"closes": "soon"}, "unreadable_date", "closes_at"),
        (GOOD | {"opens": [1]}, "unreadable_date", "opens_at"),
        (GOOD | {"closes": "1066-10-14"}, "date_out_of_range", "closes_at"),
        (GOOD | {"most": "1e999"}, "amount_out_of_range", "amount_max"),
        (GOOD | {"least": -1}, "amount_out_of_range", "amount_min"),
        (GOOD | {"text": "x" * 70_000}, "record_too_large", None),
        (GOOD | {"tags": "x" * 20_000}, "extra_too_large", "extra"),
        ("text", "no_key", "key"),
        (None, "no_key", "key"),
        ([1, 2], "no_key", "key"),
        (Unreadable("{,}"), "unreadable_record", None),
    ],
)
def test_what_does_not_pass(raw: Any, reason: str, field: str | None) -> None:
    refused = line(raw).refused
    assert refused is not None
    assert (refused.reason, refused.field) == (reason, field)
    assert refused.key == ("1" if isinstance(raw, dict) and raw.get("id") == "1" else None)


def test_expressions_that_cannot_be_applied() -> None:
    refused = line(GOOD, mapping=MAPPING | {"summary": "sum(name)"}).refused
    assert refused is not None
    assert (refused.reason, refused.field) == ("expression_failed", "summary")


def test_a_record_that_is_too_deep() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    refused = line(GOOD | {"deep": deep}).refused
    assert refused is not None
    assert refused.reason == "record_too_deep"


@pytest.mark.parametrize(
    ("more", "doubt"),
    [
        ({"opens": "2026-12-24", "closes": "2026-12-23"}, "closes_before_it_opens"),
        ({"closes": "9999-12-31"}, "closes_at_is_no_date"),
        ({"opens": "0001-01-01"}, "opens_at_is_no_date"),
        ({"most": "it depends"}, "amount_max_is_no_number"),
        ({"money": "pounds"}, "currency_is_no_code"),
    ],
)
def test_what_is_doubtful_is_kept(more: dict[str, Any], doubt: str) -> None:
    record = line(GOOD | more).record
    assert record is not None
    assert record.extra["doubtful"] == [doubt]


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "ftp://example.org/", "http://[::1", "data:text/html,x", "x" * 3_000]
)
def test_addresses_that_are_none_of_the_web_are_left_out(url: str) -> None:
    record = line(GOOD | {"link": url}).record
    assert record is not None
    assert record.url is None or record.url.startswith("https://example.org/list/")
    assert len(record.url or "") <= 2_000


def test_long_texts_are_cut() -> None:
    record = line(GOOD | {"name": "n" * 2_000, "text": "t" * 30_000}).record
    assert record is not None
    assert (len(record.title), len(record.summary)) == (1_000, 20_000)
    assert record.raw["name"] == "n" * 2_000


def test_what_cannot_be_stored_is_cleaned() -> None:
    raw = GOOD | {"text": "a\x00b\ud800", "number": 10**30, "no": float("nan")}
    record = line(raw).record
    assert record is not None
    assert record.raw == GOOD | {"text": "ab?", "number": str(10**30), "no": None}
    assert record.summary == "ab?"


def test_the_field_of_changes_is_taken_as_it_is() -> None:
    incremental = {"parameter": "since", "field": "changed"}
    record = line(GOOD | {"changed": "2026-01-01T00:00:00.123+01:00"}, incremental=incremental).record
    assert record is not None
    assert record.changed == "2026-01-01T00:00:00.123+01:00"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


FIELDS = ("id", "name", "text", "link", "by", "opens", "closes", "least", "most", "money", "status", "tags")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_anything_is_mapped_or_refused(raw: dict[str, Any]) -> None:
    read = line(raw)
    assert b"\\u0000" not in orjson.dumps(read.model_dump(mode="json"))
