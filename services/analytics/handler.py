"""The analytics worker's job handler. Read this first.

A job `events` counts a batch in the transaction that ends it (counting.py), so it does so once, however often it
is tried. `report` only reads. `erase`, `rebuild` and `replay` write step by step (runs.py). `housekeeping` comes
from the fleet's schedule, every night.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from libs.common import metrics
from libs.common.backoff import until_available
from libs.common.blobs import Blobs
from libs.common.contracts.analytics import (
    AnalyticsPayload,
    ErasePayload,
    EventsPayload,
    EventsResult,
    HousekeepingPayload,
    RebuildPayload,
    ReplayPayload,
    ReportPayload,
)
from libs.common.db import Connection, Database
from libs.common.worker.job import Done, Job
from libs.common.worker.service import Platform
from services.analytics import counting, event_types, incoming, partitions, rejected
from services.analytics.config import Settings
from services.analytics.counting import SubjectHashes
from services.analytics.erasure import erase
from services.analytics.housekeeping import keep_house
from services.analytics.rebuilding import rebuild
from services.analytics.replaying import replay
from services.analytics.reports import report


@dataclass(frozen=True, slots=True)
class Deps:
    """The handler's dependencies."""

    settings: Settings
    database: Database
    blobs: Blobs
    hashes: SubjectHashes


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open the dependencies of `handle`, and see to it that there are partitions for events."""
    await until_available(lambda: partitions.keep(platform.database, settings.analytics_retention_days))
    hashes = SubjectHashes(settings.analytics_secret.get_secret_value())
    yield Deps(settings, platform.database, platform.blobs, hashes)


async def handle(job: Job[AnalyticsPayload], deps: Deps) -> Done:
    """Do a job of any kind."""
    match job.payload.root:
        case EventsPayload() as payload:
            return await _count(job, payload, deps)
        case ReportPayload() as payload:
            with metrics.analytics_query_seconds.labels(payload.request.report).time():
                return await report(job, payload, deps.database, deps.blobs)
        case ErasePayload() as payload:
            return await erase(job, payload, deps.database, deps.hashes)
        case RebuildPayload() as payload:
            return await rebuild(job, payload, deps.database)
        case ReplayPayload() as payload:
            return await replay(job, payload, deps.database, deps.hashes)
        case HousekeepingPayload():
            return await keep_house(job, deps.database, deps.settings.analytics_retention_days)


async def _count(job: Job[AnalyticsPayload], payload: EventsPayload, deps: Deps) -> Done:
    """Check a batch outside of any transaction; count it together with the end of the job."""
    received_at = payload.received_at
    read = await asyncio.to_thread(lambda: [incoming.read(one, received_at) for one in payload.events])
    types = await until_available(lambda: event_types.known(deps.database, job.tenant, counting.names_of(read)))
    checked = await asyncio.to_thread(counting.check, read, types)

    async def effects(connection: Connection) -> dict[str, Any]:
        async with deps.database.as_tenant(connection, job.tenant):
            outcome = await counting.count(connection, job.tenant, read, checked, received_at, deps.hashes)
            await rejected.keep(connection, job.tenant, job.id, len(read), outcome.refused)
        return outcome.result.model_dump()

    def measure(result: dict[str, Any]) -> None:
        _measure(EventsResult.model_validate(result), len(read), received_at)

    return Done(effects=effects, when_written=measure, forget_payload=True)


def _measure(result: EventsResult, events: int, received_at: datetime) -> None:
    erased = result.reasons.get("erased", 0)
    outcomes = {
        "counted": result.counted,
        "duplicate": result.duplicates,
        "rejected": result.rejected - erased,
        "late": result.late,
        "erased": erased,
    }
    for outcome, number in outcomes.items():
        metrics.events.labels(outcome).inc(number)
    metrics.events_lag_seconds.observe(max(0.0, (datetime.now(UTC) - received_at).total_seconds()))
    metrics.events_batch_size.observe(events)
