"""A worker that is killed at any point leaves nothing half done, and the next one counts each event once."""

import asyncio
import os
import random
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deploy.local.test_servers import Trio
from libs.common.config import DatabaseSettings
from libs.common.contracts.analytics import ErasePayload, HousekeepingPayload
from libs.common.ledger import requeueing
from services.analytics import partitions
from tests.analysing import NOW, SECRET, Analyst, brute_force, event, generated, overlapping
from tests.chaos.one_analyst import POINTS

ROOT = Path(__file__).resolve().parents[4]
OF_COUNTING = [point for point in POINTS if not point.startswith("erased")]
OF_ERASING = "erased one month of two"


class Killed:
    """A worker process that is killed at a point; the fleet then notices that it is gone."""

    def __init__(self, analyst: Analyst, settings: DatabaseSettings, servers: Trio, folder: Path) -> None:
        self._analyst = analyst
        self._environment = os.environ | {
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "NATS_URL": servers.nats.url,
            "BLOB_URL": folder.as_uri(),
            "ANALYTICS_SECRET": SECRET,
            "ARGOSY_RUN_DIR": str(folder),
        }

    async def at(self, point: str) -> None:
        """Let one work until then."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.one_analyst", point, cwd=ROOT, env=self._environment
        )
        assert await process.wait() == -signal.SIGKILL
        await self._analyst.gateway.fetch("UPDATE ledger.workers SET heartbeat_at = now() - interval '1 hour'")
        assert (await requeueing.recover(self._analyst.gateway)).jobs


@pytest.fixture
def killed(analyst: Analyst, database_settings: DatabaseSettings, servers: Trio, tmp_path: Path) -> Killed:
    return Killed(analyst, database_settings, servers, tmp_path)


@pytest.mark.parametrize("point", OF_COUNTING)
async def test_each_event_counts_once_whoever_is_killed(analyst: Analyst, killed: Killed, point: str) -> None:
    chance = random.Random(point)  # noqa: S311 - a test's
    for name in ("view", "click"):
        await analyst.type(name, dimensions=["page"], value="amount")
    events = generated(chance, 100)
    batches = overlapping(chance, events, 4)
    jobs = [await analyst.send(batch) for batch in batches]
    await killed.at(point)
    await analyst.work(workers=2)
    results = [(await analyst.facts(job))["result"] for job in jobs]
    assert sum(result["counted"] for result in results) == len(events)
    assert sum(result["counted"] + result["duplicates"] for result in results) == sum(map(len, batches))
    expected = brute_force(events, ("page",), "amount")
    found = {key: (count, round(total, 6)) for key, (count, total) in (await analyst.rollups()).items()}
    assert (found, await analyst.estimates()) == (expected.rollups, expected.estimates)
    assert (await analyst.run(HousekeepingPayload(), tenant="argosy"))["drift"] == 0


async def test_a_month_that_is_dropped_meanwhile_is_too_old(analyst: Analyst, killed: Killed) -> None:
    old = [event(f"o{n}", at=NOW - timedelta(days=40)) for n in range(3)]
    job = await analyst.send([*old, event("new")])
    await killed.at("found the months that are kept")
    await partitions.keep(analyst.database, 5)
    result = await analyst.finish(job)
    assert (result["counted"], result["reasons"]) == (1, {"too_old": 3})
    assert sum(count for count, _ in (await analyst.rollups()).values()) == 1
    assert (await analyst.run(HousekeepingPayload(), tenant="argosy"))["drift"] == 0


async def test_an_erasure_goes_on_where_it_was_killed(analyst: Analyst, killed: Killed) -> None:
    mine = [event(f"m{n}", at=NOW - timedelta(days=n * 10), subject="me") for n in range(9)]
    await analyst.count([*mine, *generated(random.Random(1), 50)])  # noqa: S311 - a test's
    job = await analyst.submit(ErasePayload(subject="me"))
    await killed.at(OF_ERASING)
    ((left,),) = await analyst.database.fetch("SELECT count(*) FROM analytics.events WHERE subject = 'me'")
    assert 0 < left < len(mine)
    assert (await analyst.count([event("late", at=NOW - timedelta(days=80), subject="me")]))["rejected"] == 1
    await analyst.work()
    assert (await analyst.facts(job))["result"] == {"erased": len(mine), "rejected": 0}
    assert await analyst.database.fetch("SELECT FROM analytics.events WHERE subject = 'me'") == []
    assert await analyst.database.fetch("SELECT FROM analytics.runs") == []
    assert (await analyst.run(HousekeepingPayload(), tenant="argosy"))["drift"] == 0


async def test_what_becomes_of_events_is_measured(analyst: Analyst) -> None:
    def measured() -> dict[str, float]:
        outcomes = ("counted", "duplicate", "rejected", "late", "erased")
        return {
            outcome: REGISTRY.get_sample_value("argosy_events_total", {"outcome": outcome}) or 0
            for outcome in outcomes
        }

    before = measured()
    await analyst.run(ErasePayload(subject="gone"))
    at = NOW - timedelta(hours=3)
    sent = [
        event("a", at=at),
        event("a", at=at),
        event("b"),
        event("c") | {"name": "No"},
        event("d", at=at, subject="gone"),
    ]
    await analyst.count(sent)
    after = measured()
    grown = {outcome: after[outcome] - before[outcome] for outcome in after}
    assert grown == {"counted": 2, "duplicate": 1, "rejected": 1, "late": 1, "erased": 1}
