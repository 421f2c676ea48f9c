"""Counts and sums by the hour: of each event name in all, and for each value of its dimensions.

A dimension has VALUES_A_DAY values a day at most that are told apart, its labels. Others are counted as OTHER,
so the values of a dimension always add up to the total. A label is never taken back: what has once been counted
by itself is so whenever the day is counted anew.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from libs.common.contracts.analytics import VALUES_A_DAY
from libs.common.db import Connection, fetch_within
from libs.common.unnest import Columns

TOTAL = ""
"""In place of a dimension: all events of the name."""
OTHER = "\x1fother"
"""In place of a value: all values that are not told apart. No caller's value begins with this character."""


class Cell(NamedTuple):
    """What events of one name, of one hour and with one value of a dimension add to a row of rollups.

    `sum` is a number as PostgreSQL writes it, which loses nothing on its way.
    """

    name: str
    dim: str
    hour: datetime
    value: str
    events: int
    sum: str
    is_told_apart: bool = True

    @property
    def label(self) -> "Label":
        """The value, and where it is one."""
        return Label(self.name, self.dim, self.hour.date(), self.value)


class Label(NamedTuple):
    """A value of a dimension on a day."""

    name: str
    dim: str
    day: date
    value: str


# Values get their names once they are grouped, as there are fewer of them than events. They are grouped by their
# text, because 1.5 and 1.50 are the same in jsonb, but not by name.
CELLS = f"""
typed AS (
  SELECT e.name, date_trunc('hour', e.at, 'UTC') AS hour, e.properties, t.dimensions,
    CASE jsonb_typeof(e.properties -> t.value) WHEN 'number' THEN (e.properties ->> t.value)::numeric ELSE 0 END
      AS number
  FROM e LEFT JOIN analytics.types t ON t.tenant = $1 AND t.name = e.name),
valued AS (
  SELECT name, dim, hour, (properties -> dim)::text AS value, count(*) AS count, sum(number) AS sum
  FROM typed CROSS JOIN unnest(dimensions) AS dim GROUP BY 1, 2, 3, 4),
found AS (
  SELECT name, '{TOTAL}' AS dim, hour, '' AS value, count(*) AS count, sum(number) AS sum
  FROM typed GROUP BY 1, 3
  UNION ALL
  SELECT name, dim, hour, analytics.label(value::jsonb), sum(count)::bigint, sum(sum)
  FROM valued GROUP BY 1, 2, 3, 4),
cells AS (
  SELECT f.*, f.dim = '{TOTAL}' OR l.value IS NOT NULL AS is_told_apart FROM found f
  LEFT JOIN analytics.labels l ON l.tenant = $1 AND l.name = f.name AND l.dim = f.dim
    AND l.day = (f.hour AT TIME ZONE 'UTC')::date AND l.value = f.value)
"""  # noqa: S608 - made of constants
"""The CTE `cells`, made of the CTE `e`, which are events of the tenant `$1`."""

CELLS_AS_COLUMNS = """
array_agg(name), array_agg(dim), array_agg(hour), array_agg(value), array_agg(count), array_agg(sum::text),
array_agg(is_told_apart)
"""
"""What a statement selects from `cells` for `cells_of`. One row of arrays is read faster than many rows."""
_CELLS: Columns[Cell] = Columns(
    name=("text", lambda cell: cell.name),
    dim=("text", lambda cell: cell.dim),
    hour=("timestamptz", lambda cell: cell.hour),
    value=("text", lambda cell: cell.value),
    events=("bigint", lambda cell: cell.events),
    sum=("text", lambda cell: cell.sum),
)
_LABELS: Columns[Label] = Columns(
    name=("text", lambda label: label.name),
    dim=("text", lambda label: label.dim),
    day=("date", lambda label: label.day),
    value=("text", lambda label: label.value),
)
# Several cells may be OTHER. Who adds to a row waits for others that do. All write in the order of keys, so nobody
# waits in a circle.
_ADD = f"""
INSERT INTO analytics.rollups AS r (tenant, name, dim, hour, value, count, sum)
SELECT $1, name, dim, hour, value, sum(events), sum(sum::numeric) FROM {_CELLS.unnested("new", first=2)}
GROUP BY name, dim, hour, value ORDER BY name, dim, hour, value
ON CONFLICT (tenant, name, dim, hour, value) DO UPDATE
  SET count = r.count + excluded.count, sum = r.sum + excluded.sum
"""  # noqa: S608 - made of constants
_ERASE = f"""
UPDATE analytics.rollups r SET erased = r.erased + gone.count, erased_sum = r.erased_sum + gone.sum
FROM (SELECT name, dim, hour, value, sum(events) AS count, sum(sum::numeric) AS sum
  FROM {_CELLS.unnested("c", first=2)}
  GROUP BY name, dim, hour, value) gone
WHERE r.tenant = $1 AND r.name = gone.name AND r.dim = gone.dim AND r.hour = gone.hour AND r.value = gone.value
"""  # noqa: S608
_KNOWN = f"""
SELECT {_LABELS.names} FROM analytics.labels JOIN {_LABELS.unnested("wanted", first=2)} USING ({_LABELS.names})
WHERE tenant = $1
"""  # noqa: S608
_LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(E'\\x1f', 'labels', $1::text, name, dim, day), 0))
FROM unnest($2::text[], $3::text[], $4::date[]) AS t (name, dim, day)
"""
_TAKEN = """
SELECT name, dim, day, (
  SELECT count(*) FROM analytics.labels l
  WHERE l.tenant = $1 AND l.name = t.name AND l.dim = t.dim AND l.day = t.day)
FROM unnest($2::text[], $3::text[], $4::date[]) AS t (name, dim, day)
"""
_MAKE = f"""
INSERT INTO analytics.labels (tenant, {_LABELS.names}) SELECT $1, * FROM {_LABELS.unnested("new", first=2)}
ON CONFLICT DO NOTHING
"""  # noqa: S608


def cells_of(columns: Sequence[Sequence[Any] | None]) -> list[Cell]:
    """The cells that CELLS_AS_COLUMNS has selected."""
    return list(map(Cell, *(column or () for column in columns)))


async def add(connection: Connection, tenant: str, cells: Sequence[Cell]) -> None:
    """Add cells to the rollups, in the caller's transaction. Values get labels as long as there is room."""
    missing = {cell.label for cell in cells if not cell.is_told_apart}
    made = await _make_labels(connection, tenant, missing) if missing else set[Label]()
    await _write(connection, _ADD, tenant, cells, made)


async def note_erased(connection: Connection, tenant: str, cells: Sequence[Cell]) -> None:
    """Note that events, which stay counted, are no longer kept."""
    await _write(connection, _ERASE, tenant, cells, set())


async def _write(connection: Connection, sql: str, tenant: str, cells: Sequence[Cell], made: set[Label]) -> None:
    if cells:
        shown = [
            cell if cell.is_told_apart or cell.label in made else cell._replace(value=OTHER) for cell in cells
        ]
        await fetch_within(connection, sql, tenant, *_CELLS.arrays(shown))


async def _make_labels(connection: Connection, tenant: str, missing: set[Label]) -> set[Label]:
    """Make labels as long as there is room. Returns those of `missing` that there are now."""
    days = sorted({(label.name, label.dim, label.day) for label in missing})
    await fetch_within(connection, _LOCK, tenant, *map(list, zip(*days, strict=True)))
    known = await _known(connection, tenant, missing)  # others may have made some while we waited
    made = await _with_room(connection, tenant, days, missing - known)
    if made:
        await fetch_within(connection, _MAKE, tenant, *_LABELS.arrays(made))
    return known | set(made)


async def _known(connection: Connection, tenant: str, wanted: Iterable[Label]) -> set[Label]:
    return {Label(*row) for row in await fetch_within(connection, _KNOWN, tenant, *_LABELS.arrays(sorted(wanted)))}


async def _with_room(
    connection: Connection, tenant: str, days: Sequence[tuple[str, str, date]], missing: Iterable[Label]
) -> list[Label]:
    rows = await fetch_within(connection, _TAKEN, tenant, *map(list, zip(*days, strict=True)))
    room = {(name, dim, day): VALUES_A_DAY - taken for name, dim, day, taken in rows}
    made = []
    for label in sorted(missing):
        key = label.name, label.dim, label.day
        if room[key] > 0:
            room[key] -= 1
            made.append(label)
    return made
