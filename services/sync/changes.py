"""The feed of changes, from which nothing can be missing and in which nothing comes twice.

Neither timestamps nor sequences are in the order of commits. So changes are in the order of the transactions that
wrote them, and only those are shown that are older than every transaction still running: nothing can appear any
more before what has been shown.

The ids of transactions mean something in one database only. A dump that is restored elsewhere brings changes with
the ids of another server: the first worker that finds them there gives them numbers before everything that this
database will write (`adopt`), and cursors from before are refused.
"""

from typing import Any
from uuid import UUID

from libs.common.contracts.ids import public_id
from libs.common.db import LONG_S, Connection, Database, fetch_within
from libs.common.errors import Unavailable
from libs.common.rpc import fitting
from services.sync.cursors import Cursors
from services.sync.opportunities import KIND, split_position
from services.sync.refusals import ChangesForgotten

KEPT_DAYS = 400

Document = dict[str, Any]

# The database itself: a copy of it elsewhere, or beside it, has another server or another oid.
_HERE = """
(SELECT concat(system_identifier, '-', (SELECT oid FROM pg_database WHERE datname = current_database()))
 FROM pg_control_system())
"""
_FEED = f"""
SELECT place, place IS NOT DISTINCT FROM {_HERE}, forgotten >= $1::text::xid8,
  $1::text::xid8 > pg_snapshot_xmax(pg_current_snapshot()) FROM sync.feed
"""  # noqa: S608 - made of constants
_PAGE = """
SELECT pg_snapshot_xmin(now)::text, page.* FROM pg_current_snapshot() AS now LEFT JOIN LATERAL (
  SELECT concat(changed_by, '-', number), opportunity, what, fields, run, at FROM sync.changes
  WHERE tenant = $1 AND (changed_by, number) > ($2::text::xid8, $3::int) AND changed_by < pg_snapshot_xmin(now)
  ORDER BY changed_by, number LIMIT $4) page ON true
"""
_HORIZON = (
    f"SELECT place IS NOT DISTINCT FROM {_HERE}, pg_snapshot_xmin(pg_current_snapshot())::text FROM sync.feed"  # noqa: S608
)
_INSERTED = """
SELECT changed_by::text, number, opportunity, what FROM sync.changes
WHERE tenant = $1 AND (changed_by, number) > ($2::text::xid8, $3::int) AND changed_by < $4::text::xid8
ORDER BY changed_by, number LIMIT $5
"""
_NAMES = ("position", "opportunity", "what", "fields", "run", "at")
_LOCK = f"SELECT place IS NULL, place IS DISTINCT FROM {_HERE} FROM sync.feed FOR UPDATE"  # noqa: S608
_RENUMBER = """
UPDATE sync.changes c SET changed_by = '0', number = n.number
FROM (SELECT tenant, changed_by, number AS old,
        row_number() OVER (PARTITION BY tenant ORDER BY changed_by, number) AS number FROM sync.changes) n
WHERE c.tenant = n.tenant AND c.changed_by = n.changed_by AND c.number = n.old
"""
# Up to there searches have told what there was: so many changes, which are numbered from 1 then.
_RENUMBER_TOLD = """
UPDATE sync.searches s SET told_by = '0', told_number = (SELECT count(*) FROM sync.changes c
  WHERE c.tenant = s.tenant AND (c.changed_by, c.number) <= (s.told_by, s.told_number))
"""
_RESET = "UPDATE sync.opportunities SET changed_by = '0' WHERE changed_by <> '0'"
_SETTLE = f"UPDATE sync.feed SET place = {_HERE}, forgotten = NULL"  # noqa: S608
_FORGET = """
WITH gone AS (
  DELETE FROM sync.changes WHERE (tenant, changed_by, number) IN (
    SELECT tenant, changed_by, number FROM sync.changes WHERE at < now() - $1 * interval '1 day' LIMIT 1000)
  RETURNING changed_by)
UPDATE sync.feed SET forgotten = greatest(forgotten, newest.changed_by)
FROM (SELECT changed_by FROM gone ORDER BY changed_by DESC LIMIT 1) newest
RETURNING (SELECT count(*) FROM gone)
"""
_BEGINNING = ("0", -1)


async def adopt(database: Database) -> None:
    """Make the changes those of this database, if they come from another. Raises Unavailable."""
    async with database.begin() as connection:
        ((is_new, is_elsewhere),) = await fetch_within(connection, _LOCK)
        if not is_elsewhere:
            return
        if not is_new:
            await fetch_within(connection, "SELECT set_config('statement_timeout', '0', true)")
            await fetch_within(connection, _RENUMBER_TOLD)
            await fetch_within(connection, _RENUMBER)
            await fetch_within(connection, _RESET)
        await fetch_within(connection, _SETTLE)


async def horizon(connection: Connection) -> str:
    """The oldest transaction that may still write: what is older is all there. Raises Unavailable."""
    ((is_ours, oldest),) = await fetch_within(connection, _HORIZON)
    if not is_ours:
        raise Unavailable("No worker has looked at this database yet.")
    found: str = oldest
    return found


async def inserted(
    connection: Connection, tenant: str, after: tuple[str, int], until: str, limit: int
) -> tuple[list[UUID], tuple[str, int], bool]:
    """Look through `limit` changes behind `after`, of transactions before `until`.

    Returns the opportunities that were inserted, where to go on, and whether there are no more changes.
    """
    rows = await fetch_within(connection, _INSERTED, tenant, *after, until, limit)
    found = [opportunity for _, _, opportunity, what in rows if what == "inserted"]
    if len(rows) < limit:
        return found, (until, -1), True
    return found, (rows[-1][0], rows[-1][1]), False


async def page(database: Database, tenant: str, cursors: Cursors, *, after: str | None, limit: int) -> Document:
    """Changes behind the cursor `after`, oldest first, and the cursor to go on with, also if there are none.

    Raises CursorInvalid; ChangesForgotten if some behind the cursor are not there any more; Unavailable.
    """
    question = b"changes of " + tenant.encode()
    place, changed_by, number = (None, *_BEGINNING)
    if after is not None:
        place, position = cursors.read(question, after)
        changed_by, number = split_position(position)
    async with database.begin() as connection:
        ((here, is_ours, is_forgotten, is_ahead),) = await fetch_within(connection, _FEED, changed_by)
        if not is_ours:
            raise Unavailable("No worker has looked at this database yet.")
        if after is not None and (place != here or is_forgotten or is_ahead):
            raise ChangesForgotten
        async with database.as_tenant(connection, tenant):
            rows = await fetch_within(connection, _PAGE, tenant, changed_by, number, limit)
    found = [dict(zip(_NAMES, row[1:], strict=True)) for row in rows if row[1] is not None]
    for change in found:
        change |= {"opportunity": public_id(change["opportunity"], KIND), "run": change["run"].hex}
    shown = found[: fitting(found)]
    is_last = len(found) < limit and len(shown) == len(found)
    # All transactions before the oldest that is running have been shown: the next page begins with that one.
    position = f"{rows[0][0]}--1" if is_last else shown[-1]["position"]
    return {"changes": shown, "next_after": cursors.issue(question, [here, position])}


async def forget(database: Database) -> int:
    """Remove changes that are older than KEPT_DAYS. Returns how many. Raises Unavailable."""
    removed = 0
    while rows := await database.fetch(_FORGET, KEPT_DAYS, timeout_s=LONG_S):
        removed += rows[0][0]
    return removed
