"""Counts days anew from the events that are kept, and compares: the difference, the drift, must be 0."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from libs.common.contracts.analytics import VALUES_A_DAY
from libs.common.db import LONG_S, Connection, Database, fetch_within
from services.analytics import locks, partitions, sketches
from services.analytics.rollups import OTHER, TOTAL

# Of events `$2` of the tenant `$1` from `$3` to `$4`. Labels are as they are: a value that has none is OTHER.
_COUNTED = f"""
typed AS (
  SELECT dimensions, value, rebuilt = version AS is_rebuilt FROM analytics.types WHERE tenant = $1 AND name = $2),
kept AS MATERIALIZED (
  SELECT date_trunc('hour', e.at, 'UTC') AS hour, e.day, e.properties, CASE
    WHEN jsonb_typeof(e.properties -> (SELECT value FROM typed)) = 'number'
    THEN (e.properties ->> (SELECT value FROM typed))::numeric ELSE 0 END AS number
  FROM analytics.events e
  WHERE e.tenant = $1 AND e.name = $2 AND e.at >= $3 AND e.at < $4
    AND e.day >= ($3::timestamptz AT TIME ZONE 'UTC')::date
    AND e.day <= ($4::timestamptz AT TIME ZONE 'UTC')::date),
counted AS (
  SELECT '{TOTAL}' AS dim, hour, '' AS value, count(*) AS count, sum(number) AS sum FROM kept GROUP BY hour
  UNION ALL
  SELECT d.dim, k.hour, coalesce(l.value, '{OTHER}'), count(*), sum(k.number)
  FROM kept k CROSS JOIN (SELECT unnest(dimensions) AS dim FROM typed) d
  LEFT JOIN analytics.labels l ON l.tenant = $1 AND l.name = $2 AND l.dim = d.dim AND l.day = k.day
    AND l.value = analytics.label(k.properties -> d.dim)
  GROUP BY 1, 2, 3)
"""  # noqa: S608 - made of constants
# A type that is not rebuilt yet is right only in what does not depend on it.
_DRIFT = f"""
WITH {_COUNTED},
were AS (
  SELECT dim, hour, value, count - erased AS count, sum - erased_sum AS sum FROM analytics.rollups
  WHERE tenant = $1 AND name = $2 AND hour >= $3 AND hour < $4
    AND (dim = '{TOTAL}' OR dim = ANY(ARRAY(SELECT unnest(dimensions) FROM typed))))
SELECT coalesce(sum(abs(coalesce(w.count, 0) - coalesce(c.count, 0))), 0)
  + count(*) FILTER (WHERE coalesce(w.sum, 0) <> coalesce(c.sum, 0) AND (SELECT is_rebuilt FROM typed))
FROM counted c FULL JOIN were w USING (dim, hour, value)
WHERE dim = '{TOTAL}' OR (SELECT is_rebuilt FROM typed)
"""  # noqa: S608
_LABEL = """
INSERT INTO analytics.labels (tenant, name, dim, day, value)
SELECT $1, $2, dim, $3::date, value FROM (
  SELECT d.dim, analytics.label(e.properties -> d.dim) AS value,
    row_number() OVER (PARTITION BY d.dim ORDER BY count(*) DESC, analytics.label(e.properties -> d.dim)) AS place
  FROM analytics.events e
  CROSS JOIN (SELECT unnest(dimensions) AS dim FROM analytics.types WHERE tenant = $1 AND name = $2) d
  WHERE e.tenant = $1 AND e.name = $2 AND e.day = $3 AND e.at >= $4 AND e.at < $5
    AND NOT EXISTS (SELECT FROM analytics.labels l WHERE l.tenant = $1 AND l.name = $2 AND l.dim = d.dim
      AND l.day = $3 AND l.value = analytics.label(e.properties -> d.dim))
  GROUP BY 1, 2) missing
WHERE place <= $6 - (
  SELECT count(*) FROM analytics.labels l
  WHERE l.tenant = $1 AND l.name = $2 AND l.dim = missing.dim AND l.day = $3)
ON CONFLICT DO NOTHING
"""
_CLEAR = "DELETE FROM analytics.rollups WHERE tenant = $1 AND name = $2 AND hour >= $3 AND hour < $4"
_WRITE = f"""
WITH {_COUNTED}
INSERT INTO analytics.rollups (tenant, name, dim, hour, value, count, sum)
SELECT $1, $2, dim, hour, value, count, sum FROM counted
"""  # noqa: S608
_HOURS = """
SELECT h FROM generate_series($3::timestamptz, $3 + interval '23 hours', '1 hour') AS h
WHERE EXISTS (SELECT FROM analytics.rollups WHERE tenant = $1 AND name = $2 AND dim = '' AND hour = h)
  OR EXISTS (
    SELECT FROM analytics.events
    WHERE tenant = $1 AND name = $2 AND at >= h AND at < h + interval '1 hour' AND day = $4)
ORDER BY h
"""
_SUBJECTS = """
SELECT DISTINCT subject FROM analytics.events
WHERE tenant = $1 AND name = $2 AND at >= $3 AND at < $3::timestamptz + interval '1 hour' AND day = $4
  AND subject IS NOT NULL
"""
_REBUILT = "UPDATE analytics.types SET rebuilt = $3 WHERE tenant = $1 AND name = $2 AND version = $3"
# From one name to the next by the index, because there are many rows of each.
_NAMES = """
WITH RECURSIVE counted AS (
  SELECT min(name) AS name FROM analytics.rollups WHERE tenant = $1
  UNION ALL
  SELECT (SELECT min(r.name) FROM analytics.rollups r WHERE r.tenant = $1 AND r.name > c.name) FROM counted c
  WHERE c.name IS NOT NULL),
kept AS (
  SELECT min(name) AS name FROM analytics.events WHERE tenant = $1
  UNION ALL
  SELECT (SELECT min(e.name) FROM analytics.events e WHERE e.tenant = $1 AND e.name > k.name) FROM kept k
  WHERE k.name IS NOT NULL)
SELECT name FROM counted WHERE name IS NOT NULL UNION SELECT name FROM kept WHERE name IS NOT NULL ORDER BY 1
"""
_DAYS = """
SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date FROM analytics.rollups
WHERE tenant = $1 AND name = $2 AND dim = '' AND hour >= $3
UNION
SELECT DISTINCT (at AT TIME ZONE 'UTC')::date FROM analytics.events WHERE tenant = $1 AND name = $2 AND at >= $3
ORDER BY 1
"""
_TENANTS = """
WITH RECURSIVE t AS (
  SELECT min(tenant) AS tenant FROM analytics.rollups
  UNION ALL
  SELECT (SELECT min(r.tenant) FROM analytics.rollups r WHERE r.tenant > t.tenant) FROM t
  WHERE t.tenant IS NOT NULL)
SELECT tenant FROM t WHERE tenant IS NOT NULL
"""


def midnight(day: date) -> datetime:
    """Its beginning in UTC."""
    return datetime.combine(day, time(), UTC)


async def tenants(database: Database) -> list[str]:
    """All tenants of whom events have been counted. Raises Unavailable."""
    return [row[0] for row in await database.fetch(_TENANTS)]


async def names(database: Database, tenant: str) -> list[str]:
    """The names of all events of a tenant, in order. Raises Unavailable."""
    return [row[0] for row in await database.fetch(_NAMES, tenant, tenant=tenant)]


async def days(database: Database, tenant: str, name: str) -> list[date]:
    """The days with such events that can be counted anew, in order. Raises Unavailable."""
    months = await partitions.months(database)
    if not months:
        return []
    rows = await database.fetch(_DAYS, tenant, name, midnight(months[0]), tenant=tenant, timeout_s=LONG_S)
    return [row[0] for row in rows]


async def drift_of_month(database: Database, tenant: str, name: str, month: date) -> int:
    """By how much the counts of a month are wrong. It is one statement, so events may be counted meanwhile."""
    begin, end = midnight(month), midnight(partitions.month_after(month))
    ((drift,),) = await database.fetch(_DRIFT, tenant, name, begin, end, tenant=tenant, timeout_s=LONG_S)
    return int(drift)


async def recount_day(connection: Connection, tenant: str, name: str, day: date) -> int:
    """Count a day anew, in a transaction that works as `tenant`. Returns the drift that there was.

    Events of that day are not counted meanwhile. It goes by the hour, as each statement is bounded in time.
    """
    await locks.keep_out(connection, tenant, day)
    drift, sketch = 0, sketches.EMPTY
    for (hour,) in await fetch_within(connection, _HOURS, tenant, name, midnight(day), day):
        range_ = tenant, name, hour, hour + timedelta(hours=1)
        ((wrong_by,),) = await fetch_within(connection, _DRIFT, *range_)
        drift += int(wrong_by)
        await fetch_within(connection, _LABEL, tenant, name, day, *range_[2:], VALUES_A_DAY)
        await fetch_within(connection, _CLEAR, *range_)
        await fetch_within(connection, _WRITE, *range_)
        rows = await fetch_within(connection, _SUBJECTS, tenant, name, hour, day)
        sketch = sketches.sketch_of((row[0] for row in rows), sketch)
    await sketches.replace(connection, tenant, (name, day), sketch)
    return drift


async def mark_rebuilt(connection: Connection, tenant: str, versions: Sequence[tuple[str, int]]) -> None:
    """Note that all days of these event types are counted by this version of theirs."""
    for name, version in versions:
        await fetch_within(connection, _REBUILT, tenant, name, version)
