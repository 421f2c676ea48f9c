"""Funnels and retention, from events: a part of the subjects at a time, so that each statement is bounded.

A subject's events are always in the same part, so the figures of parts add up.
"""

import asyncio
import csv
import hashlib
import io
from collections.abc import AsyncIterator, Sequence
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from libs.common.blobs import Blobs
from libs.common.contracts.analytics import AnalyticsPayload, Funnel, ReportPayload, Retention
from libs.common.db import Database, Rows
from libs.common.worker.job import Artifact, Done, Job
from services.analytics import buckets
from services.analytics.refusals import TooSlow

WITHIN_S = 60.0
"""How long a report may take."""
EVENTS_A_PART = 500_000
_HOW_MANY = """
SELECT coalesce(sum(count), 0)::bigint FROM analytics.rollups
WHERE tenant = $1 AND name = ANY($2::text[]) AND dim = '' AND hour >= $3 AND hour < $4
"""
# `reached_k` is when the latest chain of steps 1 to k that ends with this event began; a later beginning is never
# worse. An event continues only what came before it, so it is not two steps at once. Events of the same moment are
# taken in the order of the steps.
_FUNNEL = """
WITH reached_0 AS (
  SELECT subject, name, at, array_position($2::text[], name) AS place FROM analytics.events
  WHERE tenant = $1 AND name = ANY($2::text[]) AND at >= $3 AND at < $4 AND day >= $5 AND day <= $6
    AND subject IS NOT NULL AND mod(hashtext(subject)::bigint + 2147483648, $7::int) = $8::int),
{steps},
furthest AS (SELECT {furthest} FROM reached_{last} GROUP BY subject)
SELECT {counts} FROM furthest
"""
_FIRST_STEP = """
reached_1 AS (SELECT *, CASE WHEN name = ($2::text[])[1] THEN at END AS step_1 FROM reached_0)"""
_NEXT_STEP = """
reached_{n} AS (
  SELECT *, CASE WHEN name = ($2::text[])[{n}]
      AND at - max(step_{before}) OVER earlier <= $9::float8 * interval '1 second'
    THEN max(step_{before}) OVER earlier END AS step_{n}
  FROM reached_{before}
  WINDOW earlier AS (PARTITION BY subject ORDER BY at, place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))"""
# One pass with a window, not a join: the planner cannot know how many events there are of a subject.
_RETENTION = """
WITH mine AS (
  SELECT subject, at, name = ($2::text[])[2] AS is_back,
    min(at) FILTER (WHERE name = ($2::text[])[1]) OVER (PARTITION BY subject) AS first_at
  FROM analytics.events
  WHERE tenant = $1 AND name = ANY($2::text[]) AND at >= $3 AND at < $4 AND day >= $5 AND day <= $6
    AND subject IS NOT NULL AND mod(hashtext(subject)::bigint + 2147483648, $7::int) = $8::int),
seen AS (
  SELECT DISTINCT subject, width_bucket(first_at, $9::timestamptz[]) AS period,
    CASE WHEN is_back AND at >= first_at THEN width_bucket(at, $9::timestamptz[]) END AS back
  FROM mine WHERE first_at IS NOT NULL)
SELECT period, -1, count(DISTINCT subject) FROM seen GROUP BY 1
UNION ALL
SELECT period, back - period, count(*) FROM seen WHERE back IS NOT NULL GROUP BY 1, 2
"""


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
    steps = len(request.steps)
    numbers = range(1, steps + 1)
    sql = _FUNNEL.format(
        steps=",".join([_FIRST_STEP, *(_NEXT_STEP.format(n=n, before=n - 1) for n in numbers[1:])]),
        furthest=", ".join(f"bool_or(step_{n} IS NOT NULL) AS has_{n}" for n in numbers),
        counts=", ".join(f"count(*) FILTER (WHERE has_{n})" for n in numbers),
        last=steps,
    )
    totals = [0] * steps
    async for rows in _parts(job, request, request.steps, database, sql, float(request.within_s)):
        totals = [total + number for total, number in zip(totals, rows[0], strict=True)]
    table = [["step", "event", "subjects"], *map(list, zip(numbers, request.steps, totals, strict=True))]
    return {"entered": totals[0], "steps": totals}, table  # type: ignore[return-value]


async def _retention(
    job: Job[AnalyticsPayload], request: Retention, database: Database
) -> tuple[dict[str, Any], list[list[object]]]:
    zone = ZoneInfo(request.time_zone)
    edges = buckets.edges(request.begins_at, request.ends_at, request.by, zone)
    names = request.start, request.back
    figures = dict[tuple[int, int], int]()
    async for rows in _parts(job, request, names, database, _RETENTION, edges):
        for period, offset, number in rows:
            figures[period, offset] = figures.get((period, offset), 0) + number
    periods = buckets.labels(edges[:-1], request.by, zone)
    cohorts = [
        {
            "period": label,
            "subjects": figures.get((number, -1), 0),
            "returned": [figures.get((number, offset), 0) for offset in range(len(periods) - number + 1)],
        }
        for number, label in enumerate(periods, 1)
    ]
    head: list[object] = ["period", "subjects", *range(len(periods))]
    table = [head, *([cohort["period"], cohort["subjects"], *cohort["returned"]] for cohort in cohorts)]  # type: ignore[misc]
    return {"cohorts": cohorts}, table


async def _parts(
    job: Job[AnalyticsPayload],
    request: Funnel | Retention,
    names: Sequence[str],
    database: Database,
    sql: str,
    argument: object,
) -> AsyncIterator[Rows]:
    """The rows of `sql` for each part of the subjects."""
    begin, end = request.begins_at.astimezone(UTC), request.ends_at.astimezone(UTC)
    range_ = begin.replace(minute=0, second=0, microsecond=0), end
    ((events,),) = await database.fetch(_HOW_MANY, job.tenant, list(set(names)), *range_, tenant=job.tenant)
    parts = 1 + events // EVENTS_A_PART
    for part in range(parts):
        job.progress(part, parts)
        yield await database.fetch(
            sql, job.tenant, list(names), begin, end, begin.date(), end.date(), parts, part, argument,
            tenant=job.tenant, timeout_s=WITHIN_S + 5,
        )  # fmt: skip
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
