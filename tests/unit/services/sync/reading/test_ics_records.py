"""Records of calendars."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.sync import SourceSpec
from services.sync.reading.answers import About
from services.sync.reading.ics_records import ics_records
from services.sync.reading.mapping import Unreadable
from services.sync.refusals import UnreadableBody

SPEC = SourceSpec.model_validate({"url": "https://example.org/a.ics", "format": "ics"})
ZONE = """BEGIN:VTIMEZONE
TZID:Somewhere
BEGIN:STANDARD
DTSTART:19700101T000000
TZOFFSETFROM:+0300
TZOFFSETTO:+0300
END:STANDARD
END:VTIMEZONE
"""


def event(*lines: str, name: str = "VEVENT") -> str:
    return "\n".join((f"BEGIN:{name}", *lines, f"END:{name}", ""))


def calendar(*parts: str) -> bytes:
    return f"BEGIN:VCALENDAR\nVERSION:2.0\n{''.join(parts)}END:VCALENDAR\n".replace("\n", "\r\n").encode()


def records(body: bytes) -> list[Any]:
    return list(ics_records(body, SPEC, About("https://example.org/a.ics")).records)


GOOD = event("UID:1", "SUMMARY:Water", "DTSTART:20260701T210000Z")


def test_an_event() -> None:
    (record,) = records(
        calendar(
            ZONE,
            event(
                "UID:1", "SUMMARY:Rural water\\, light", "DTSTART;TZID=Somewhere:20260701T100000", "DURATION:PT2H",
                "DESCRIPTION:One\\nand a very long", "  line", "URL:https://example.org/1", "CATEGORIES:a,b",
                "ORGANIZER;CN=EPA:mailto:epa@example.org", "STATUS:CONFIRMED", "RRULE:FREQ=YEARLY",
                "BEGIN:VALARM", "SUMMARY:not this", "END:VALARM",
            ),
        )
    )  # fmt: skip
    assert record == {
        "id": "1", "uid": "1", "summary": "Rural water, light", "description": "One\nand a very long line",
        "start": "2026-07-01T10:00:00+03:00", "end": "2026-07-01T12:00:00+03:00", "url": "https://example.org/1",
        "categories": ["a", "b"], "organizer": "EPA", "status": "CONFIRMED", "rrule": "FREQ=YEARLY",
    }  # fmt: skip


def test_days_end_with_the_last_one() -> None:
    days = event("UID:1", "SUMMARY:a", "DTSTART;VALUE=DATE:20261222", "DTEND;VALUE=DATE:20261224")
    one = event("UID:2", "SUMMARY:b", "DTSTART;VALUE=DATE:20261222", "DTEND;VALUE=DATE:20261222")
    found = records(calendar(days, one))
    assert [(record["start"], record["end"]) for record in found] == [
        ("2026-12-22", "2026-12-23"),
        ("2026-12-22", "2026-12-22"),
    ]


def test_occurrences_have_ids_of_their_own_and_to_dos_are_read() -> None:
    changed = event("UID:1", "SUMMARY:c", "RECURRENCE-ID:20270701T210000Z", "DTSTART:20270702T210000Z")
    todo = event("UID:2", "SUMMARY:d", "DUE;VALUE=DATE:20261231", name="VTODO")
    found = records(calendar(GOOD, changed, todo, event("UID:3", name="VJOURNAL")))
    assert [record["id"] for record in found] == ["1", "1/2027-07-01T21:00:00+00:00", "2"]
    assert found[2]["due"] == "2026-12-31"


@pytest.mark.parametrize(
    "bad",
    [
        event("UID:2", "SUMMARY", "nonsense", "DTSTART:soon"),
        event("\x00\x01", ":::", "=;="),
        event("UID:2", "DTSTART:99999999T999999Z", "RRULE:FREQ=NEVER"),
        event("UID:2", "DTSTART:20260101T000000Z", "DURATION:P999999999999999999W"),
        event("UID:2", "DTSTART:99991231T000000Z", "DURATION:P9W"),
        "BEGIN:VEVENT\nUID:2\n",
        "BEGIN:VTIMEZONE\nTZID:x\nnonsense\nEND:VTIMEZONE\n",
        event("UID:2", "BEGIN:VALARM", "TRIGGER:x"),
    ],
)
def test_a_bad_event_costs_no_other(bad: str) -> None:
    found = records(calendar(GOOD, bad, GOOD.replace("UID:1", "UID:3")))
    ids = [record.get("id") for record in found if isinstance(record, dict)]
    assert [one for one in ids if one in ("1", "3")] == ["1", "3"]
    assert all(isinstance(record, dict | Unreadable) for record in found)


def test_a_date_that_cannot_be_read_stays_as_it_is() -> None:
    (record,) = records(calendar(event("UID:2", "SUMMARY:a", "DTSTART:soon")))
    assert record["start"] == "soon"


@pytest.mark.parametrize("body", [b"", b"<html>", b"SUMMARY:a", b"BEGIN:VCARD\r\nEND:VCARD"])
def test_what_is_no_calendar(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        records(body)


def test_an_empty_calendar_and_events_without_one() -> None:
    assert records(calendar()) == []
    assert [record["id"] for record in records(GOOD.encode("utf-16"))] == ["1"]


LINES = st.sampled_from(
    [
        "BEGIN:VEVENT",
        "END:VEVENT",
        "BEGIN:VTIMEZONE",
        "END:VTIMEZONE",
        "UID:1",
        "DTSTART:2026",
        "TZID:x",
        "RDATE:1",
        "\x00",
        ":",
    ]
)


@given(st.lists(LINES | st.text(max_size=20), max_size=15))
def test_nothing_else_happens(lines: list[str]) -> None:
    records(calendar("\n".join((*lines, ""))))
