"""Removes what deleted sources listed. Deadlines that follow it are told in the same transaction."""

from uuid import UUID

from libs.common.db import LONG_S, Database, fetch_within
from services.sync.followers import tell_of_removed

_REMOVE = """
DELETE FROM sync.opportunities WHERE tenant = $1 AND source = $2 AND key IN (
  SELECT key FROM sync.opportunities WHERE tenant = $1 AND source = $2 LIMIT 1000)
RETURNING id, revision, gone_at, title, url, agency, closes_on::text
"""
_ORPHANED = """
SELECT tenant, source FROM (SELECT DISTINCT tenant, source FROM sync.opportunities) listed
WHERE NOT EXISTS (SELECT FROM sync.sources s WHERE s.tenant = listed.tenant AND s.id = listed.source)
"""


async def remove_some(database: Database, tenant: str, source: UUID) -> bool:
    """Remove a thousand of what a source listed. False: there was nothing left. Raises Unavailable."""
    async with database.begin(tenant=tenant) as connection:
        rows = await fetch_within(connection, _REMOVE, tenant, source)
        living = [(id_, revision, fields) for id_, revision, gone_at, *fields in rows if gone_at is None]
        await tell_of_removed(connection, tenant, living)
    return bool(rows)


async def remove_orphans(database: Database) -> None:
    """Remove all that is left of deleted sources, of any tenant. Raises Unavailable."""
    for tenant, source in await database.fetch(_ORPHANED, timeout_s=LONG_S):
        while await remove_some(database, tenant, source):
            pass
