"""When a source may be asked again."""

from datetime import UTC, datetime, timedelta

import pytest

from services.sync.freshness import fresh_until, retry_after

NOW = datetime(2026, 11, 29, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("120", NOW + timedelta(minutes=2)),
        (" 0 ", NOW),
        ("Sun, 29 Nov 2026 11:30:00 GMT", NOW + timedelta(hours=1)),
        ("Sunday, 29-Nov-26 11:30:00 GMT", NOW + timedelta(hours=1)),
        ("Sun, 29 Nov 2020 11:30:00 GMT", NOW),
        ("999999999999", NOW + timedelta(days=14)),
        ("Sun, 29 Nov 2099 11:30:00 GMT", NOW + timedelta(days=14)),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_retry_after_in_both_forms(said: str, expected: datetime | None) -> None:
    assert retry_after({"retry-after": said}, NOW) == expected


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("max-age=600", 600),
        ("public, Max-Age=600, must-revalidate", 600),
        ('max-age="600"', 600),
        ("max-age=99999999999", 14 * 86_400),
        ("no-cache", None),
        ("max-age=0", None),
        ("s-maxage=600", None),
        ("max-age=soon", None),
        ("", None),
    ],
)
def test_max_age(header: str, seconds: int | None) -> None:
    expected = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert fresh_until({"cache-control": header}, NOW) == expected


def test_the_later_of_ttl_and_max_age() -> None:
    headers = {"cache-control": "max-age=600"}
    assert fresh_until(headers, NOW, ttl_s=900) == NOW + timedelta(seconds=900)
    assert fresh_until(headers, NOW, ttl_s=300) == NOW + timedelta(seconds=600)


@pytest.mark.parametrize(
    ("hours", "interval_s", "expected"),
    [
        ((10, 11), 0, NOW.replace(hour=12, minute=0)),
        ((9,), 0, NOW),
        ((11,), 3_600, NOW.replace(hour=12, minute=0)),
        ((*range(11), *range(12, 24)), 7_200, NOW.replace(day=30, hour=11, minute=0)),
        (tuple(range(24)), 0, None),
    ],
)
def test_hours_that_are_to_be_skipped(hours: tuple[int, ...], interval_s: int, expected: datetime | None) -> None:
    assert fresh_until({}, NOW, skip_hours=hours, interval_s=interval_s) == expected
