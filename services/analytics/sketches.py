"""How many different subjects there were, in 4 KB a day and event name, with an error of 1.6 %.

A HyperLogLog sketch is the same whatever the order of its subjects, and however often each is added. Its
estimate is not, while it is counted in one go, so it is always taken from a union, where it depends on the
registers only.
"""

from collections.abc import Iterable, Sequence
from datetime import date

from datasketches import HLL_8, hll_sketch, hll_union

from libs.common.db import Connection, fetch_within
from libs.common.unnest import Columns

LOG_K = 12
ERROR = 0.016
"""The standard error of an estimate, as a share: 1.04 / sqrt(2 ** LOG_K)."""

Key = tuple[str, date]
"""The name of an event, and a day in UTC."""

_KEYS: Columns[Key] = Columns(name=("text", lambda key: key[0]), day=("date", lambda key: key[1]))
_CHANGED: Columns[tuple[Key, bytes]] = Columns(
    name=("text", lambda changed: changed[0][0]),
    day=("date", lambda changed: changed[0][1]),
    sketch=("bytea", lambda changed: changed[1]),
)
# The rows are made first: two that find none would each write its own, and the second would overwrite the first.
_MAKE = f"""
INSERT INTO analytics.uniques (tenant, name, day, sketch)
SELECT $1, name, day, $2 FROM {_KEYS.unnested("k", first=3)} ON CONFLICT DO NOTHING
"""  # noqa: S608 - made of constants
_LOCK = f"""
SELECT u.name, u.day, u.sketch FROM analytics.uniques u JOIN {_KEYS.unnested("k", first=2)} USING (name, day)
WHERE u.tenant = $1 ORDER BY u.name, u.day FOR UPDATE OF u
"""  # noqa: S608
_WRITE = f"""
UPDATE analytics.uniques u SET sketch = c.sketch FROM {_CHANGED.unnested("c", first=2)}
WHERE u.tenant = $1 AND u.name = c.name AND u.day = c.day
"""  # noqa: S608
_REPLACE = """
INSERT INTO analytics.uniques (tenant, name, day, sketch) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, name, day) DO UPDATE SET sketch = excluded.sketch
"""


def sketch_of(subjects: Iterable[str], begun: bytes | None = None) -> bytes:
    """A sketch of `subjects`, and of those of the sketch `begun`."""
    sketch = hll_sketch(LOG_K, HLL_8) if begun is None else hll_sketch.deserialize(begun)
    for subject in subjects:
        sketch.update(subject)
    return bytes(sketch.serialize_compact())


EMPTY = sketch_of(())


def estimate(sketches: Sequence[bytes]) -> int:
    """How many different subjects `sketches` have together."""
    union = hll_union(LOG_K)
    for each in (*sketches, *sketches[:1]):
        union.update(hll_sketch.deserialize(each))
    return round(float(union.get_estimate()))


async def add(connection: Connection, tenant: str, subjects: dict[Key, set[str]]) -> None:
    """Add to the sketches of these names and days, in the caller's transaction."""
    keys = sorted(subjects)
    if not keys:
        return
    await fetch_within(connection, _MAKE, tenant, EMPTY, *_KEYS.arrays(keys))
    changed = list[tuple[Key, bytes]]()
    for name, day, begun in await fetch_within(connection, _LOCK, tenant, *_KEYS.arrays(keys)):
        grown = sketch_of(subjects[name, day], begun)
        if grown != begun:
            changed.append(((name, day), grown))
    if changed:
        await fetch_within(connection, _WRITE, tenant, *_CHANGED.arrays(changed))


async def replace(connection: Connection, tenant: str, key: Key, sketch: bytes) -> None:
    """Write the sketch of a name and day, whatever it was."""
    await fetch_within(connection, _REPLACE, tenant, *key, sketch)
