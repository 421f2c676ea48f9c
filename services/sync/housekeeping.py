"""The nightly job of the fleet: what is too old is removed, and what deleted sources listed."""

from libs.common.db import Database
from services.sync import changes
from services.sync.removing import remove_orphans

KEPT_DAYS = 30
"""Rejected records, and what is known of runs."""
_FORGET_SEEN = """
DELETE FROM sync.seen e WHERE NOT EXISTS (
  SELECT FROM sync.sources s WHERE s.tenant = e.tenant AND s.id = e.source AND s.run = e.run) RETURNING 1
"""
_FORGET_REJECTED = """
DELETE FROM sync.rejected WHERE (tenant, source, number) IN (
  SELECT tenant, source, number FROM sync.rejected WHERE at < now() - $1 * interval '1 day' LIMIT 1000
) RETURNING 1
"""
_FORGET_RUNS = """
DELETE FROM sync.runs WHERE (tenant, id) IN (
  SELECT tenant, id FROM sync.runs WHERE began_at < now() - $1 * interval '1 day' LIMIT 1000
) RETURNING 1
"""


async def keep_house(database: Database) -> dict[str, int]:
    """Remove what is older than KEPT_DAYS. Returns how much, by table. Raises Unavailable."""
    await database.fetch(_FORGET_SEEN)
    await remove_orphans(database)
    return {
        "rejected": await _forget(database, _FORGET_REJECTED),
        "runs": await _forget(database, _FORGET_RUNS),
        "changes": await changes.forget(database),
    }


async def _forget(database: Database, statement: str) -> int:
    removed = 0
    while rows := await database.fetch(statement, KEPT_DAYS):
        removed += len(rows)
    return removed
