"""Answers queries at once, from rollups and sketches; from events only where these cannot say it exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from libs.common.contracts.analytics import Point, Query, QueryAnswer, Series
from libs.common.db import Database
from services.analytics import buckets, partitions, recount, sketches
from services.analytics.refusals import TooManyRows
from services.analytics.rollups import OTHER

FROM_EVENTS_AT_MOST = 1_000_000
"""Events that a query may read."""
WITHIN_S = 8.0
"""Less than the gateway waits for the answer."""

# `$4` are the edges of buckets: width_bucket says in which one a moment is, counted from 1.
_SERIES = """
SELECT width_bucket(hour, $4::timestamptz[]) AS bucket, sum({figure}) FROM analytics.rollups
WHERE tenant = $1 AND name = $2 AND dim = $3 AND hour >= $5 AND hour < $6 GROUP BY 1
"""
_BREAKDOWN = """
WITH cells AS MATERIALIZED (
  SELECT value, width_bucket(hour, $4::timestamptz[]) AS bucket, sum({figure}) AS number FROM analytics.rollups
  WHERE tenant = $1 AND name = $2 AND dim = $3 AND hour >= $5 AND hour < $6 GROUP BY 1, 2),
top AS (
  SELECT value, sum(number) AS total FROM cells WHERE value <> $7 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $8)
SELECT value, bucket, number FROM cells JOIN top USING (value) ORDER BY total DESC, value
"""
_EVENTS = """
SELECT width_bucket(e.at, $3::timestamptz[]), {figure} FROM analytics.events e
LEFT JOIN analytics.types t ON t.tenant = $1 AND t.name = $2
WHERE e.tenant = $1 AND e.name = $2 AND e.at >= $4 AND e.at < $5 GROUP BY 1
"""
_FIGURES_OF_EVENTS = {
    "count": "count(*)",
    "sum": "sum((e.properties ->> t.value)::numeric) FILTER (WHERE jsonb_typeof(e.properties -> t.value) ="
    " 'number')",
    "uniques": "count(DISTINCT e.subject)",
}
_HOW_MANY = """
SELECT coalesce(sum(count), 0)::bigint, coalesce(sum(erased), 0)::bigint FROM analytics.rollups
WHERE tenant = $1 AND name = $2 AND dim = '' AND hour >= $3 AND hour < $4
"""
_SKETCHES = "SELECT day, sketch FROM analytics.uniques WHERE tenant = $1 AND name = $2 AND day >= $3 AND day <= $4"
_NOW = "SELECT now()"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query of a tenant, and the edges of its buckets in UTC."""

    database: Database
    tenant: str
    query: Query
    edges: Sequence[datetime]

    @property
    def labels(self) -> list[str]:
        return buckets.labels(self.edges[:-1], self.query.by, ZoneInfo(self.query.time_zone))

    def points(self, numbers: dict[int, int | float]) -> list[Point]:
        """A point for each bucket, from numbers by bucket, counted from 1."""
        return [(label, numbers.get(number, 0)) for number, label in enumerate(self.labels, 1)]


async def answer(database: Database, tenant: str, query: Query) -> QueryAnswer:
    """Answer a query. Raises TooManyRows, Unavailable."""
    edges = buckets.edges(query.begins_at, query.ends_at, query.by, ZoneInfo(query.time_zone))
    asked = _Asked(database, tenant, query, edges)
    ((as_of,),) = await database.fetch(_NOW, tenant=tenant)
    if query.measure == "uniques":
        return await _uniques(asked, as_of)
    if query.breakdown is not None:
        return await _breakdown(asked, as_of, query.breakdown)
    exact = buckets.are_whole_hours(edges)
    if not exact and await _can_read_events(asked):
        return _answer(asked, await _from_events(asked), as_of, exact=True)
    return _answer(asked, await _from_rollups(asked), as_of, exact=exact)


async def _from_rollups(asked: _Asked) -> dict[int, int | float]:
    sql = _SERIES.format(figure=asked.query.measure)
    rows = await asked.database.fetch(
        sql, asked.tenant, asked.query.event, "", asked.edges, asked.edges[0], asked.edges[-1],
        tenant=asked.tenant, timeout_s=WITHIN_S,
    )  # fmt: skip
    return {row[0]: _number(row[1]) for row in rows}


async def _from_events(asked: _Asked) -> dict[int, int | float]:
    sql = _EVENTS.format(figure=_FIGURES_OF_EVENTS[asked.query.measure])
    rows = await asked.database.fetch(
        sql, asked.tenant, asked.query.event, asked.edges, asked.edges[0], asked.edges[-1],
        tenant=asked.tenant, timeout_s=WITHIN_S,
    )  # fmt: skip
    return {row[0]: _number(row[1]) for row in rows}


async def _can_read_events(asked: _Asked) -> bool:
    """Whether all events of the range are kept, and few enough to be read."""
    months = await partitions.months(asked.database)
    if not months or recount.midnight(months[0]) > asked.edges[0]:
        return False
    first, last = _hour(asked.edges[0]), asked.edges[-1]
    rows = await asked.database.fetch(_HOW_MANY, asked.tenant, asked.query.event, first, last, tenant=asked.tenant)
    ((counted, erased),) = rows
    return bool(counted <= FROM_EVENTS_AT_MOST and not erased)


async def _breakdown(asked: _Asked, as_of: datetime, dim: str) -> QueryAnswer:
    sql = _BREAKDOWN.format(figure=asked.query.measure)
    rows = await asked.database.fetch(
        sql, asked.tenant, asked.query.event, dim, asked.edges, asked.edges[0], asked.edges[-1], OTHER,
        asked.query.top, tenant=asked.tenant, timeout_s=WITHIN_S,
    )  # fmt: skip
    by_value = dict[str, dict[int, int | float]]()
    shown = Decimal(0)
    for value, bucket, number in rows:
        by_value.setdefault(value, {})[bucket] = _number(number)
        shown += number
    total = sum(map(_decimal, (await _from_rollups(asked)).values()), Decimal(0))
    series = [Series(value=value, points=asked.points(numbers)) for value, numbers in by_value.items()]
    exact = buckets.are_whole_hours(asked.edges)
    return QueryAnswer(series=series, other=_number(total - shown), exact=exact, as_of=as_of)


async def _uniques(asked: _Asked, as_of: datetime) -> QueryAnswer:
    if await _can_read_events(asked):
        return _answer(asked, await _from_events(asked), as_of, exact=True)
    if asked.query.by == "hour":
        raise TooManyRows
    first, last = asked.edges[0].date(), (asked.edges[-1] - timedelta(microseconds=1)).date()
    rows = await asked.database.fetch(
        _SKETCHES, asked.tenant, asked.query.event, first, last, tenant=asked.tenant, timeout_s=WITHIN_S
    )
    numbers = dict[int, int | float]()
    for number, (begin, end) in enumerate(zip(asked.edges, asked.edges[1:], strict=False), 1):
        days = begin.date(), (end - timedelta(microseconds=1)).date()
        of_bucket = [sketch for day, sketch in rows if days[0] <= day <= days[1]]
        if of_bucket:
            numbers[number] = sketches.estimate(of_bucket)
    error = sketches.ERROR if buckets.are_whole_days(asked.edges) else None
    return _answer(asked, numbers, as_of, exact=False, error=error)


def _answer(
    asked: _Asked, numbers: dict[int, int | float], as_of: datetime, *, exact: bool, error: float | None = None
) -> QueryAnswer:
    series = [Series(value=None, points=asked.points(numbers))]
    return QueryAnswer(series=series, exact=exact, error=error, as_of=as_of)


def _number(number: Decimal | int | None) -> int | float:
    """As JSON has it: a whole number where it is one."""
    if number is None:
        return 0
    return int(number) if number == int(number) else float(number)


def _decimal(number: int | float) -> Decimal:
    return Decimal(str(number))


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
