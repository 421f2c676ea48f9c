"""What gateway and analytics worker exchange."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from libs.common.contracts.analytics import AnalyticsPayload, HousekeepingPayload, Query, Retention

RANGE = '"event": "view", "from": "2026-11-01", "to": "2026-11-03"'


def test_a_day_begins_at_midnight_of_the_zone() -> None:
    query = Query.model_validate_json(f'{{{RANGE}, "time_zone": "Europe/Berlin"}}')
    assert query.begins_at.astimezone(UTC) == datetime(2026, 10, 31, 23, tzinfo=UTC)
    assert query.ends_at.astimezone(UTC) == datetime(2026, 11, 2, 23, tzinfo=UTC)


def test_a_moment_is_that_moment_in_any_zone() -> None:
    query = Query.model_validate_json(
        '{"event": "view", "time_zone": "Asia/Tokyo",'
        ' "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00+01:00"}'
    )
    assert query.begins_at == datetime(2026, 11, 1, tzinfo=UTC)
    assert query.ends_at == datetime(2026, 11, 1, 23, tzinfo=UTC)


@pytest.mark.parametrize("by", ["hour", "day", "week", "month"])
def test_no_answer_has_too_many_points(by: str) -> None:
    document = '{"event": "view", "from": "1970-01-01", "to": "%s-01-01", "by": "%s"}'
    assert Query.model_validate_json(document % (1971, by))
    with pytest.raises(ValidationError, match="more than 10000 points"):
        Query.model_validate_json(document % (9000, by))


def test_a_retention_report_has_an_end() -> None:
    document = '{"report": "retention", "start": "a", "back": "b", "by": "day", "from": "2026-01-01", "to": "%s"}'
    assert Retention.model_validate_json(document % "2026-04-01")
    with pytest.raises(ValidationError, match="points"):
        Retention.model_validate_json(document % "2026-12-01")


def test_an_empty_payload_is_the_fleets() -> None:
    assert AnalyticsPayload.model_validate_json("{}").root == HousekeepingPayload()
    with pytest.raises(ValidationError):
        AnalyticsPayload.model_validate_json('{"kind": "nothing"}')
