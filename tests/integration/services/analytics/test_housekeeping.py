"""The nightly job finds what is wrong, and says so to whoever watches."""

from datetime import timedelta

from prometheus_client import REGISTRY

from libs.common.contracts.analytics import HousekeepingPayload
from tests.analysing import NOW, Analyst, event


async def test_drift_is_told_when_a_rollup_is_altered_by_hand(analyst: Analyst) -> None:
    await analyst.type("view", dimensions=["page"], value="amount")
    await analyst.count([event(f"e{n}", at=NOW - timedelta(days=n * 20), page="/", amount=2) for n in range(5)])
    for damage, drift in (
        ("SELECT 1", 0),
        ("UPDATE analytics.rollups SET count = count - 1 WHERE dim = 'page'", 5),
        ("UPDATE analytics.rollups SET count = count + 1 WHERE dim = 'page'", 0),
        ("UPDATE analytics.rollups SET sum = 3 WHERE dim = ''", 5),
        ("UPDATE analytics.rollups SET sum = 2 WHERE dim = ''", 0),
        ("DELETE FROM analytics.rollups WHERE dim = ''", 10),
    ):
        await analyst.database.fetch(damage)
        assert (await analyst.run(HousekeepingPayload(), tenant="argosy"))["drift"] == drift, damage
        assert REGISTRY.get_sample_value("argosy_rollup_drift") == drift


async def test_what_is_old_is_forgotten(analyst: Analyst) -> None:
    await analyst.count([event("bad") | {"name": "No"}])
    await analyst.database.fetch("UPDATE analytics.rejected SET at = now() - interval '31 days'")
    await analyst.database.fetch(
        "INSERT INTO analytics.runs (job, tenant, attempt, begun_at)"
        " VALUES (gen_random_uuid(), 'acme', 1, now() - interval '41 days')"
    )
    await analyst.run(HousekeepingPayload(), tenant="argosy")
    for table in ("rejected", "runs"):
        assert await analyst.database.fetch(f"SELECT FROM analytics.{table}") == []


async def test_a_job_of_the_fleets_schedule_has_no_payload(analyst: Analyst) -> None:
    rows = await analyst.gateway.fetch(
        "SELECT tenant, kind, payload::text FROM ledger.schedules WHERE queue = 'analytics'"
    )
    assert [tuple(row) for row in rows] == [("argosy", "housekeeping", "{}")]
