"""Each event is judged by itself: what is wrong with one is said of it, and of no other."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.analytics import Reason
from libs.common.ledger.jobs import new_id
from services.analytics.incoming import Event, Refused, read

NOW = datetime(2026, 11, 27, 10, tzinfo=UTC)
GOOD: dict[str, Any] = {"id": "e1", "name": "view", "time": "2026-11-27T09:30:00Z", "subject": "u1"}
WRONG = {
    "not an object": ("view", Reason.NOT_AN_OBJECT),
    "no id": (GOOD | {"id": None}, Reason.NO_ID),
    "an empty id": (GOOD | {"id": ""}, Reason.NO_ID),
    "a number as id": (GOOD | {"id": 7}, Reason.NO_ID),
    "a long id": (GOOD | {"id": "x" * 129}, Reason.ID_TOO_LONG),
    "no name": ({"id": "e1"}, Reason.BAD_NAME),
    "a name in capitals": (GOOD | {"name": "View"}, Reason.BAD_NAME),
    "a long name": (GOOD | {"name": "v" * 101}, Reason.BAD_NAME),
    "a name with a line end": (GOOD | {"name": "view\n"}, Reason.BAD_NAME),
    "a time that cannot be read": (GOOD | {"time": "yesterday"}, Reason.BAD_TIME),
    "a number as time": (GOOD | {"time": 1764237600}, Reason.BAD_TIME),
    "a time without an offset": (GOOD | {"time": "2026-11-27T09:30:00"}, Reason.BAD_TIME),
    "a time before time": (GOOD | {"time": "0001-01-01T00:00:00+14:00"}, Reason.BAD_TIME),
    "no time, and no UUIDv7": (GOOD | {"time": None}, Reason.NO_TIME),
    "an hour and a second ahead": (GOOD | {"time": "2026-11-27T11:00:01Z"}, Reason.IN_THE_FUTURE),
    "an empty subject": (GOOD | {"subject": ""}, Reason.BAD_SUBJECT),
    "a long subject": (GOOD | {"subject": "x" * 201}, Reason.BAD_SUBJECT),
    "an object as subject": (GOOD | {"subject": {}}, Reason.BAD_SUBJECT),
    "a list as properties": (GOOD | {"properties": []}, Reason.BAD_PROPERTIES),
    "101 properties": (GOOD | {"properties": {str(n): n for n in range(101)}}, Reason.PROPERTIES_TOO_LARGE),
    "9 KB": (GOOD | {"properties": {"x": "y" * 9_000}}, Reason.PROPERTIES_TOO_LARGE),
    "infinity": (GOOD | {"properties": {"x": [math.inf]}}, Reason.NOT_FINITE),
    "not a number": (GOOD | {"properties": {"x": {"y": math.nan}}}, Reason.NOT_FINITE),
    "larger than a double": (GOOD | {"properties": {"x": 10**400}}, Reason.NOT_FINITE),
}


@pytest.mark.parametrize(("sent", "reason"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_with_its_reason(sent: Any, reason: Reason) -> None:
    refused = read(sent, NOW)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.event) == (reason, sent)


def test_an_event_is_read() -> None:
    at = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
    sent = GOOD | {"time": "2026-11-27T10:30:00+01:00", "properties": {"amount": 1.5}}
    assert read(sent, NOW) == Event("e1", "view", at, date(2026, 11, 27), "u1", '{"amount":1.5}', sent)


def test_its_day_is_that_of_utc() -> None:
    found = read(GOOD | {"time": "2026-11-27T00:30:00+01:00"}, NOW)
    assert isinstance(found, Event)
    assert found.day == date(2026, 11, 26)


def test_a_clock_may_be_an_hour_ahead() -> None:
    assert isinstance(read(GOOD | {"time": "2026-11-27T11:00:00Z"}, NOW), Event)


def test_without_a_time_it_has_that_of_its_id() -> None:
    found = read({"id": str(new_id()), "name": "view"}, datetime.now(UTC))
    assert isinstance(found, Event)
    assert abs(found.at - datetime.now(UTC)) < timedelta(minutes=5)
    assert found.day == found.at.date()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "name", "time", "subject", "properties"), JSON)) | JSON
)
def test_nothing_that_can_be_sent_breaks_it(sent: Any) -> None:
    assert isinstance(read(sent, NOW), Event | Refused)
