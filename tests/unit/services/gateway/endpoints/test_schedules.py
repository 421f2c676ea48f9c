"""When and what a schedule may be."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.contracts.services import QUEUES
from services.gateway.endpoints.schedules import (
    CHARGES,
    PAYLOADS,
    PREVIEWED,
    RECURRING,
    NewSchedule,
    ScheduleUpdate,
    upcoming,
)
from services.gateway.limits.policies import DEFAULTS
from services.gateway.problems import Invalid

NIGHTLY: dict[str, Any] = {"name": "nightly", "queue": "ocr", "payload": {}, "cron": "0 3 * * *"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"cron": "@daily"}, "cron"),
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "0 3 * *"}, "cron"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": "Europe"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"queue": "cook"}, "queue"),
        ({"name": ""}, "name"),
        ({"run_at": "2030-01-01T00:00:00Z"}, "run_at"),
        ({"catch_up": "never"}, "catch_up"),
    ],
)
def test_what_makes_no_schedule_is_named(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        NewSchedule.model_validate(NIGHTLY | wrong)
    assert [error["loc"][0] for error in refused.value.errors()] == [field]


def test_what_is_not_given_stays() -> None:
    assert ScheduleUpdate.model_validate({"paused": True}).model_dump(exclude_none=True) == {"paused": True}
    for wrong in ({"cron": "* * *"}, {"timezone": "Nowhere"}, {"queue": "ocr"}):
        with pytest.raises(ValidationError):
            ScheduleUpdate.model_validate(wrong)


def test_five_times_are_shown_or_the_expression_is_refused() -> None:
    times = upcoming("0 3 * * *", "Europe/Berlin")
    assert len(times) == PREVIEWED
    assert times == sorted(times)
    with pytest.raises(Invalid) as refused:
        upcoming("61 3 * * *", "UTC")
    assert refused.value.members["errors"][0]["field"] == "body.cron"


def test_every_queue_says_how_its_jobs_recur_and_what_a_run_is_charged_to() -> None:
    assert set(RECURRING) == set(PAYLOADS) == set(CHARGES) <= set(QUEUES)
    assert set(CHARGES.values()) <= set(DEFAULTS)
