"""The nightly job of the fleet: partitions, what is too old, types not rebuilt yet, and the check for drift."""

from libs.common import log, metrics
from libs.common.contracts.analytics import AnalyticsPayload
from libs.common.db import Database
from libs.common.worker.job import Done, Job
from services.analytics import partitions, recount, rejected, runs

_FORGET_LABELS = "DELETE FROM analytics.labels WHERE day < $1"
_FORGET_TALLIES = "DELETE FROM analytics.tallies WHERE day < (now() AT TIME ZONE 'UTC')::date - $1::int"
_OUTDATED = "SELECT tenant, name, version FROM analytics.types WHERE rebuilt < version ORDER BY 1, 2"

logger = log.get("analytics")


async def keep_house(job: Job[AnalyticsPayload], database: Database, retention_days: int) -> Done:
    """Do what is due every night. Result: `{"rebuilt": <types>, "drift": 0}`. Raises Unavailable."""
    await partitions.keep(database, retention_days)
    await rejected.remove_old(database)
    await runs.forget_old(database)
    months = await partitions.months(database)
    await database.fetch(_FORGET_LABELS, months[0])
    await database.fetch(_FORGET_TALLIES, rejected.KEPT_DAYS)
    rebuilt = await _rebuild_outdated(database)
    drift = 0
    tenants = await recount.tenants(database)
    for number, tenant in enumerate(tenants, 1):
        drift += await _drift_of(database, tenant)
        job.progress(number, len(tenants))
    metrics.rollup_drift.set(drift)
    return Done({"rebuilt": rebuilt, "drift": drift})


async def _rebuild_outdated(database: Database) -> int:
    """Count anew what a change of an event type concerns, if its own job has not. To do it twice does no harm."""
    outdated = await database.fetch(_OUTDATED)
    for tenant, name, version in outdated:
        for day in await recount.days(database, tenant, name):
            async with database.begin(tenant=tenant) as connection:
                await recount.recount_day(connection, tenant, name, day)
        async with database.begin(tenant=tenant) as connection:
            await recount.mark_rebuilt(connection, tenant, [(name, version)])
    return len(outdated)


async def _drift_of(database: Database, tenant: str) -> int:
    total = 0
    for name in await recount.names(database, tenant):
        for month in await partitions.months(database):
            drift = await recount.drift_of_month(database, tenant, name, month)
            if drift:
                logger.error("analytics.drift", of=tenant, event_name=name, month=month.isoformat(), drift=drift)
            total += drift
    return total
