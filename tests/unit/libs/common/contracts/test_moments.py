"""Moments that a database can store in any zone, and times as they are told."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from libs.common.contracts.moments import WRITTEN, Moment, Told, written

MOMENT: TypeAdapter[Moment] = TypeAdapter(Moment)


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", "9000-12-31T23:59:59-12:00"])
def test_those_in_range(text: str) -> None:
    assert MOMENT.validate_python(text).tzinfo is not None


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59Z", "9001-01-01T00:00:00Z", "2030-01-01T00:00:00", "soon"])
def test_those_that_are_none(text: str) -> None:
    with pytest.raises(ValidationError):
        MOMENT.validate_python(text)


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=ZONES))
def test_a_time_that_is_given_back_is_the_same(moment: datetime) -> None:
    assert re.fullmatch(WRITTEN, written(moment))
    assert datetime.fromisoformat(written(moment)) == moment


@pytest.mark.parametrize("microsecond", [0, 250_000, 1])
def test_all_times_are_told_in_the_same_way(microsecond: int) -> None:
    moment = datetime(2030, 12, 24, 12, 0, 0, microsecond, UTC)
    text = f"2030-12-24T12:00:00.{microsecond:06}Z"
    assert written(moment) == text
    assert TypeAdapter(Told).dump_python(moment, mode="json") == text
    assert TypeAdapter(Told).dump_python(moment) is moment
