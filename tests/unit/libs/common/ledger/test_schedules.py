"""When recurring jobs fire: cron, time zones, daylight saving, and what was missed."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import uuid4

import pytest

from libs.common.ledger.schedules import CATCH_UP_AT_MOST, BadCron, CatchUp, fire_times, owed, run_id

BERLIN = "Europe/Berlin"  # in 2026 the clocks change on 29 March (2:00 → 3:00) and on 25 October (3:00 → 2:00)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def first(cron: str, timezone: str, after: str, number: int) -> list[str]:
    return [f"{moment:%m-%d %H:%M}" for moment in islice(fire_times(cron, timezone, at(after)), number)]


def test_times_are_of_the_zone() -> None:
    assert first("0 9 * * *", BERLIN, "2026-01-10T00:00", 1) == ["01-10 08:00"]
    assert first("0 9 * * *", BERLIN, "2026-07-10T00:00", 1) == ["07-10 07:00"]


def test_a_time_in_the_skipped_hour_runs_once() -> None:
    assert first("30 2 * * *", BERLIN, "2026-03-28T00:00", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_a_time_in_the_doubled_hour_runs_once() -> None:
    assert first("30 2 * * *", BERLIN, "2026-10-24T00:00", 3) == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]


def test_every_hour_is_every_hour_on_the_day_of_change() -> None:
    times = first("0 * * * *", BERLIN, "2026-10-24T22:30", 4)
    assert times == ["10-24 23:00", "10-25 00:00", "10-25 01:00", "10-25 02:00"]


@pytest.mark.parametrize("cron", ["", "* * *", "61 * * * *", "0 0 31 2 *", "a b c d e"])
def test_nonsense_is_refused(cron: str) -> None:
    with pytest.raises(BadCron):
        fire_times(cron, "UTC", at("2026-01-01T00:00"))


@pytest.mark.parametrize(
    ("catch_up", "late", "fires", "missed"),
    [
        (CatchUp.SKIP, timedelta(seconds=1), ["10:00"], 0),
        (CatchUp.SKIP, timedelta(minutes=1), [], 1),
        (CatchUp.SKIP, timedelta(hours=3), ["13:00"], 3),
        (CatchUp.SKIP, timedelta(hours=3, minutes=5), [], 4),
        (CatchUp.ONE, timedelta(hours=3, minutes=5), ["13:00"], 3),
        (CatchUp.ALL, timedelta(hours=3, minutes=5), ["10:00", "11:00", "12:00", "13:00"], 0),
    ],
)
def test_catching_up(catch_up: CatchUp, late: timedelta, fires: list[str], missed: int) -> None:
    due_at = at("2026-05-01T10:00")
    debt = owed("0 * * * *", "UTC", catch_up, due_at, due_at + late)
    assert [f"{moment:%H:%M}" for moment in debt.fires] == fires
    assert debt.missed == missed
    assert debt.next_at is not None
    assert timedelta(0) < debt.next_at - (due_at + late) <= timedelta(hours=1)


def test_a_long_absence_is_made_up_for_in_several_rounds() -> None:
    due_at, now = at("2026-05-01T00:00"), at("2026-05-02T00:00")
    debt = owed("* * * * *", "UTC", CatchUp.ALL, due_at, now)
    assert len(debt.fires) == CATCH_UP_AT_MOST
    assert debt.next_at == due_at + timedelta(minutes=CATCH_UP_AT_MOST)


def test_the_latest_of_very_many_missed_times_is_found() -> None:
    debt = owed("* * * * *", "UTC", CatchUp.ONE, at("2026-01-01T00:00"), at("2026-05-02T07:07"))
    assert debt.fires == (at("2026-05-02T07:07"),)


def test_the_id_of_a_run_is_its_schedules_and_its_times() -> None:
    schedule, moment = uuid4(), at("2026-05-01T10:00")
    assert run_id(schedule, moment) == run_id(schedule, moment)
    assert len({run_id(schedule, moment), run_id(uuid4(), moment), run_id(schedule, at("2026-05-01T11:00"))}) == 3
    assert run_id(schedule, moment).version == 7
    assert run_id(schedule, moment) < run_id(schedule, at("2026-05-01T11:00"))


@pytest.mark.parametrize(
    ("cron", "begins"),
    [
        ("61 * * * *", "`61` is not a minute (0 to 59)."),
        ("* 7-5 * * *", "`7-5` is not an hour (0 to 23)."),
        ("* * 0 * *", "`0` is not a day of the month"),
        ("* * * foo *", "`foo` is not a month"),
        ("* * * * mon#9", "`mon#9` is not a day of the week"),
        ("* * 31 2 *", "No such day is in any of these months."),
        ("* * *", "Five fields are needed"),
    ],
)
def test_what_is_wrong_with_an_expression_is_told(cron: str, begins: str) -> None:
    with pytest.raises(BadCron) as refused:
        next(fire_times(cron, "UTC", datetime(2030, 1, 1, tzinfo=UTC)))
    assert str(refused.value).startswith(begins)
