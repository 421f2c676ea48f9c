"""What a complete source no longer lists has gone: found by the keys that a run has seen, only at its end.

Keys are kept as hashes, one row for each step. If two keys have the same hash, the opportunity that has gone stays
until the other has gone too.
"""

from collections.abc import AsyncIterator, Iterable, Sequence

from libs.common.contracts.sync import RunResult
from libs.common.db import Connection, Database, fetch_within
from services.sync.refusals import SuspiciousShrink
from services.sync.runs import Run
from services.sync.writing import Change, Target, tell

AT_ONCE = 1_000
SPARED = 10
"""So few may always be gone."""
_SEE = """
INSERT INTO sync.seen (tenant, source, run, part, keys)
SELECT $1, $2, $3, $4, array_agg(hashtextextended(key, 0)) FROM unnest($5::text[]) AS key
ON CONFLICT (source, run, part) DO UPDATE SET keys = excluded.keys
"""
_SEEN = """
SELECT part, keys FROM sync.seen WHERE tenant = $1 AND source = $2 AND run = $3 AND part > $4
ORDER BY part LIMIT 100
"""
_LIVING = """
SELECT key, hashtextextended(key, 0) FROM sync.opportunities
WHERE tenant = $1 AND source = $2 AND key > $3 AND gone_at IS NULL ORDER BY key LIMIT $4
"""
_MARK = """
UPDATE sync.opportunities SET gone_at = now(), revision = revision + 1, changed_by = pg_current_xact_id(),
  changed_at = now(), last_run = $3
WHERE tenant = $1 AND source = $2 AND key = ANY($4) AND gone_at IS NULL RETURNING id
"""


async def see(connection: Connection, run: Run, part: int, keys: Iterable[str]) -> None:
    """Remember what a step of a run has listed."""
    if listed := list(keys):
        await fetch_within(connection, _SEE, run.tenant, run.source, run.job, part, listed)


async def missing(database: Database, run: Run) -> tuple[list[str], int]:
    """The keys that the run has not seen, in order, and how many opportunities there are. Raises Unavailable."""
    seen: set[int] = set()
    part = -1
    while rows := await database.fetch(_SEEN, run.tenant, run.source, run.job, part, tenant=run.tenant):
        for _, hashes in rows:
            seen.update(hashes)
        part = rows[-1][0]
    gone, living = [], 0
    async for page in _living(database, run):
        living += len(page)
        gone += [key for key, hashed in page if hashed not in seen]
    return gone, living


async def _living(database: Database, run: Run) -> AsyncIterator[Sequence[tuple[str, int]]]:
    after = ""
    while page := await database.fetch(_LIVING, run.tenant, run.source, after, AT_ONCE, tenant=run.tenant):
        yield page
        after = page[-1][0]


def check_shrink(gone: int, living: int, max_gone_ratio: float) -> None:
    """Raises SuspiciousShrink if so many cannot be gone."""
    if gone > SPARED and gone > living * max_gone_ratio:
        raise SuspiciousShrink(f"{gone} of {living} would be gone. {SuspiciousShrink()}")


async def mark(
    connection: Connection, target: Target, keys: Sequence[str], result: RunResult, first: int = 1
) -> list[Change]:
    """Mark opportunities as gone, and count them in `result`. `first`: the number of the first change."""
    rows = await fetch_within(connection, _MARK, target.tenant, target.source, target.run, list(keys))
    changes = [Change(row[0], "gone") for row in rows]
    await tell(connection, target, changes, first=first)
    result.gone += len(changes)
    return changes
