"""Funnels and retention are what thirty lines of Python say, over any history."""

import csv
import hashlib
import io
import itertools
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.common.contracts.analytics import AnalyticsPayload, ReportPayload
from libs.common.db import fetch_within
from libs.common.handler_testkit import Ran, run_inline
from services.analytics import reports
from services.analytics.handler import handle
from services.analytics.refusals import TooSlow
from tests.analysing import Analyst, event
from tests.polling import until
from tests.report_oracle import (
    BEGIN,
    END,
    HISTORIES,
    NAMES,
    STEPS,
    WITHIN,
    Moment,
    funnel_by_hand,
    retention_by_hand,
)

TENANTS = itertools.count(1)
"""One for each example."""


async def send(analyst: Analyst, history: list[Moment], tenant: str) -> None:
    if history:
        await analyst.count(
            [
                event(f"e{n}", name, at=BEGIN + half_hours * timedelta(minutes=30), subject=subject)
                for n, (subject, name, half_hours) in enumerate(history)
            ],
            tenant=tenant,
        )


async def make(analyst: Analyst, request: dict[str, Any], tenant: str = "acme") -> Ran:
    """Make a report without the ledger."""
    payload = {"kind": "report", "request": {"from": BEGIN, "to": END} | request}
    return await run_inline(handle, AnalyticsPayload.model_validate(payload), analyst.deps, tenant=tenant)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORIES, steps=STEPS)
async def test_funnels_are_what_brute_force_says(
    analyst: Analyst, history: list[Moment], steps: list[str]
) -> None:
    tenant = f"t{next(TENANTS)}"
    await send(analyst, history, tenant)
    request = {"report": "funnel", "steps": steps, "within_s": WITHIN.total_seconds()}
    expected = funnel_by_hand(history, steps)
    ran = await make(analyst, request, tenant)
    assert ran.done.result == {"entered": expected[0], "steps": expected}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORIES, back=st.sampled_from(("a", "b")))
async def test_retention_is_what_brute_force_says(analyst: Analyst, history: list[Moment], back: str) -> None:
    tenant = f"t{next(TENANTS)}"
    await send(analyst, history, tenant)
    ran = await make(analyst, {"report": "retention", "start": "a", "back": back, "by": "day"}, tenant)
    found = {
        (date.fromisoformat(cohort["period"]), later): number
        for cohort in ran.done.result["cohorts"]
        for later, number in enumerate(cohort["returned"])
        if number
    }
    assert found == retention_by_hand(history, back)
    started = {subject for subject, name, _ in history if name == "a"}
    assert sum(cohort["subjects"] for cohort in ran.done.result["cohorts"]) == len(started)


async def test_parts_of_the_subjects_add_up(analyst: Analyst, monkeypatch: pytest.MonkeyPatch) -> None:
    history = [(f"u{n % 40}", NAMES[n % 3], n) for n in range(120)]
    await send(analyst, history, "acme")
    request = {"report": "funnel", "steps": ["a", "b"], "within_s": 86_400}
    whole = await make(analyst, request)
    monkeypatch.setattr(reports, "EVENTS_A_PART", 10)
    parts = await make(analyst, request)
    assert parts.done.result == whole.done.result
    assert whole.done.result["entered"] > 0
    assert parts.progress[-1] == {"done": 9, "total": 9, "note": None}


async def test_weeks_are_those_of_the_zone(analyst: Analyst) -> None:
    await send(analyst, [("u1", "a", 0), ("u1", "b", 48 * 7), ("u2", "a", 1)], "acme")
    request = {"report": "retention", "start": "a", "back": "b", "by": "week", "time_zone": "Asia/Kathmandu"}
    cohorts = (await make(analyst, request)).done.result["cohorts"]
    assert [cohort["subjects"] for cohort in cohorts if cohort["subjects"]] == [2]
    (cohort,) = [cohort for cohort in cohorts if cohort["subjects"]]
    assert cohort["returned"][:2] == [0, 1]
    assert all(date.fromisoformat(cohort["period"]).weekday() == 0 for cohort in cohorts)


async def test_a_report_can_also_be_a_file(analyst: Analyst) -> None:
    await send(analyst, [("u1", "a", 0), ("u1", "b", 1), ("u2", "a", 1)], "acme")
    request = {"report": "funnel", "steps": ["a", "b"], "within_s": 86_400, "csv": True}
    (artifact,) = (await make(analyst, request)).done.artifacts
    content = b"".join([chunk async for chunk in analyst.deps.blobs.read(artifact.key)])
    assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact.size, artifact.sha256)
    rows = list(csv.reader(io.StringIO(content.decode())))
    assert rows == [["step", "event", "subjects"], ["1", "a", "2"], ["2", "b", "1"]]


async def test_what_takes_too_long_is_stopped_and_says_what_to_do(
    analyst: Analyst, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "WITHIN_S", 0.3)

    async def is_idle() -> bool:
        others = "SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        return not await analyst.gateway.fetch(f"{others} AND state = 'active' AND query LIKE '%string_agg%'")

    async with analyst.database.begin() as connection:
        await fetch_within(connection, "LOCK TABLE analytics.events IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TooSlow, match="shorter range"):
            await make(analyst, {"report": "funnel", "steps": ["a", "b"], "within_s": 86_400})
        await until(is_idle)


@pytest.mark.parametrize(
    "wrong",
    [
        {"report": "funnel", "steps": ["a"], "within_s": 1},
        {"report": "funnel", "steps": ["a"] * 11, "within_s": 1},
        {"report": "funnel", "steps": ["a", "b"], "within_s": 0},
        {"report": "funnel", "steps": ["a", "B"], "within_s": 1},
        {"report": "funnel", "steps": ["a", "b"], "within_s": 1, "to": BEGIN},
        {"report": "retention", "start": "a", "back": "b", "from": "1976-01-01"},
        {"report": "nothing"},
    ],
)
def test_what_cannot_be_reported_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReportPayload.model_validate({"request": {"from": BEGIN, "to": END} | wrong})
