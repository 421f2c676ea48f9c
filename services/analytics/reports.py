"""Funnels and retention, from events: a part of the subjects at a time, so that memory is bounded.

A subject's events are always in the same part, so the figures of parts add up.
"""

import asyncio
import csv
import hashlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from libs.common.blobs import Blobs
from libs.common.contracts.analytics import AnalyticsPayload, Funnel, ReportPayload, Retention
from libs.common.db import Database
from libs.common.worker.job import Artifact, Done, Job
from services.analytics import buckets, histories
from services.analytics.histories import Histories, funnel, retention
from services.analytics.refusals import TooSlow

Figures = TypeVar("Figures")
WITHIN_S = 60.0
"""How long a report may take."""
EVENTS_A_PART = 500_000
PARTS_AT_ONCE = 4
"""Parts that one scan of the events reads, of 9 MB each."""
_HOW_MANY = """
SELECT coalesce(sum(count), 0)::bigint FROM analytics.rollups
WHERE tenant = $1 AND name = ANY($2::text[]) AND dim = '' AND hour >= $3 AND hour < $4
"""
_EVENTS = f"""
SELECT {histories.COLUMNS} FROM (
  SELECT *, mod(hashtext(subject)::bigint + 2147483648, $7::int) AS part FROM analytics.events
  WHERE tenant = $1 AND name = ANY($2::text[]) AND at >= $3 AND at < $4 AND day >= $5 AND day <= $6
    AND subject IS NOT NULL) events
WHERE part BETWEEN $8::int AND $9::int GROUP BY part
"""  # noqa: S608 - made of constants


async def report(job: Job[AnalyticsPayload], payload: ReportPayload, database: Database, blobs: Blobs) -> Done:
    """Make a report. Raises TooSlow, Unavailable, StorageUnavailable."""
    request = payload.request
    try:
        async with asyncio.timeout(WITHIN_S) as limit:
            if isinstance(request, Funnel):
                result, table = await _funnel(job, request, database)
            else:
                result, table = await _retention(job, request, database)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TooSlow from error
    if not request.csv:
        return Done(result)
    return Done(result, (await _store(job, blobs, table),))


async def _funnel(
    job: Job[AnalyticsPayload], request: Funnel, database: Database
) -> tuple[dict[str, Any], list[list[object]]]:
    steps, within = request.steps, timedelta(seconds=request.within_s)
    totals = [0] * len(steps)
    async for counts in _of_parts(job, request, steps, database, lambda found: funnel(found, steps, within)):
        totals = [total + number for total, number in zip(totals, counts, strict=True)]
    table = [["step", "event", "subjects"], *map(list, zip(range(1, len(steps) + 1), steps, totals, strict=True))]
    return {"entered": totals[0], "steps": totals}, table  # type: ignore[return-value]


async def _retention(
    job: Job[AnalyticsPayload], request: Retention, database: Database
) -> tuple[dict[str, Any], list[list[object]]]:
    zone = ZoneInfo(request.time_zone)
    edges = buckets.edges(request.begins_at, request.ends_at, request.by, zone)
    start, back = request.start, request.back
    figures: histories.Figures = Counter()
    async for of_part in _of_parts(
        job, request, (start, back), database, lambda found: retention(found, start, back, edges)
    ):
        figures.update(of_part)
    periods = buckets.labels(edges[:-1], request.by, zone)
    cohorts = [
        {
            "period": label,
            "subjects": figures[number, histories.STARTED],
            "returned": [figures[number, later] for later in range(len(periods) - number + 1)],
        }
        for number, label in enumerate(periods, 1)
    ]
    head: list[object] = ["period", "subjects", *range(len(periods))]
    table = [head, *([cohort["period"], cohort["subjects"], *cohort["returned"]] for cohort in cohorts)]  # type: ignore[misc]
    return {"cohorts": cohorts}, table


async def _of_parts(
    job: Job[AnalyticsPayload],
    request: Funnel | Retention,
    names: Sequence[str],
    database: Database,
    figures: Callable[[Histories], Figures],
) -> AsyncIterator[Figures]:
    """The figures of each part of the subjects."""
    begin, end = request.begins_at.astimezone(UTC), request.ends_at.astimezone(UTC)
    range_ = begin.replace(minute=0, second=0, microsecond=0), end
    ((events,),) = await database.fetch(_HOW_MANY, job.tenant, list(set(names)), *range_, tenant=job.tenant)
    parts = 1 + events // EVENTS_A_PART
    for first in range(0, parts, PARTS_AT_ONCE):
        job.progress(first, parts)
        found = await database.fetch(
            _EVENTS, job.tenant, list(names), begin, end, begin.date(), end.date(),
            parts, first, first + PARTS_AT_ONCE - 1, tenant=job.tenant, timeout_s=WITHIN_S + 5,
        )  # fmt: skip
        while found:
            yield await asyncio.to_thread(lambda columns: figures(histories.histories(*columns)), found.pop())
    job.progress(parts, parts)


async def _store(job: Job[AnalyticsPayload], blobs: Blobs, table: Sequence[Sequence[object]]) -> Artifact:
    text = io.StringIO()
    csv.writer(text).writerows(table)
    content = text.getvalue().encode()
    key = job.blob_key("report.csv")

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    await blobs.write(key, chunks())
    return Artifact(
        "report.csv", "text/csv; charset=utf-8", len(content), hashlib.sha256(content).hexdigest(), key
    )
