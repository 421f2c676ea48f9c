"""The books: what was accepted, less what ended, must be what there is. And old jobs, struck off.

Entries are written in the very transactions that accept, end and retry, each a row of its own, so that nobody
waits for anybody; here they are summed up.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from libs.common.db import Database
from libs.common.ledger.queues import LIVE

_BALANCE = f"""
WITH booked AS (
  SELECT queue,
         coalesce(sum(amount) FILTER (WHERE what = 'accepted'), 0) AS accepted,
         coalesce(sum(amount) FILTER (WHERE what = 'ended'), 0) AS ended,
         coalesce(sum(amount) FILTER (WHERE what = 'bytes'), 0) AS bytes
  FROM ledger.entries GROUP BY queue),
live AS ({LIVE})
SELECT queue, coalesce(accepted, 0)::bigint AS accepted, coalesce(ended, 0)::bigint AS ended,
       coalesce(bytes, 0)::bigint AS bytes, coalesce(scheduled, 0) AS scheduled, coalesce(queued, 0) AS queued,
       coalesce(running, 0) AS running, coalesce(waiting, 0) AS waiting,
       coalesce(extract(epoch FROM now() - oldest_waiting_at), 0)::float8 AS oldest_waiting_s,
       (coalesce(accepted, 0) - coalesce(ended, 0) - coalesce(scheduled + queued + running + waiting, 0))::bigint
         AS unaccounted
FROM booked FULL JOIN live USING (queue)
"""  # noqa: S608 - made of constants


async def balance(db: Database) -> list[dict[str, Any]]:
    """Each queue's books against its jobs, at one moment. Counts what waits. Raises Unavailable."""
    return [dict(row) for row in await db.fetch(_BALANCE)]


_SUM_UP = """
WITH gone AS (DELETE FROM ledger.entries RETURNING queue, what, amount)
INSERT INTO ledger.entries (queue, what, amount)
SELECT queue, what, sum(amount) FROM gone GROUP BY queue, what
"""


async def sum_up(db: Database) -> None:
    """Make one entry of many. Raises Unavailable."""
    await db.fetch(_SUM_UP)


# The rows go first, and in the same statement their folders are noted for removal: a job that somebody retries
# at this moment keeps its upload, and no crash leaves a file that nobody knows of. The folder is blobs.job_folder.
CHILDREN_AT_A_TIME = 10_000
"""Struck off in one statement, and what is left of the last flow."""
_STRIKE_OFF = """
WITH old AS (
  SELECT id, children FROM ledger.jobs j
  WHERE finished_at < now() - $1 * interval '1 second' AND parent IS NULL
    AND NOT EXISTS (SELECT FROM ledger.jobs c
                    WHERE c.parent = j.id AND c.parent IS NOT NULL AND c.finished_at IS NULL)
  ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED),
meant AS (
  SELECT id FROM (SELECT id, sum(children) OVER (ORDER BY id) - children AS before FROM old) o WHERE before < $3),
gone AS (
  DELETE FROM ledger.jobs
  WHERE id IN (SELECT id FROM meant UNION ALL SELECT c.id FROM ledger.jobs c JOIN meant m ON c.parent = m.id)
  RETURNING id, tenant, queue, state, attempt, bytes, parent),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount)
  SELECT queue, 'bytes', -sum(bytes) FROM gone GROUP BY queue HAVING sum(bytes) > 0),
noted AS (
  INSERT INTO ledger.trash (folder)
  SELECT 'jobs/' || tenant || '/' || replace(id::text, '-', '') FROM gone
  WHERE parent IS NULL AND (bytes > 0 OR attempt > 1 OR state <> 'succeeded'))
SELECT FROM gone WHERE parent IS NULL
"""


async def strike_off(db: Database, *, older_than_s: float, limit: int) -> int:
    """Remove up to `limit` jobs that ended longer ago than that, oldest first; how many. Raises Unavailable."""
    return len(await db.fetch(_STRIKE_OFF, older_than_s, limit, CHILDREN_AT_A_TIME))


async def stored_bytes(db: Database) -> int:
    """Of the uploads and artifacts of all jobs. Raises Unavailable."""
    sql = "SELECT coalesce(sum(amount), 0)::bigint FROM ledger.entries WHERE what = 'bytes'"
    ((number,),) = await db.fetch(sql)
    return int(number)


UNCLAIMED_AFTER_S = 3600.0
"""Longer than any request takes."""
_THROW_AWAY_UNCLAIMED = """
WITH late AS (
  DELETE FROM ledger.uploads WHERE owner IN (
    SELECT owner FROM ledger.uploads WHERE announced_at < now() - $1 * interval '1 second'
    ORDER BY announced_at LIMIT $2 FOR UPDATE SKIP LOCKED)
  RETURNING owner, folder),
unclaimed AS (
  INSERT INTO ledger.trash (folder)
  SELECT folder FROM late WHERE NOT EXISTS (SELECT FROM ledger.jobs WHERE id = owner)
    AND NOT EXISTS (SELECT FROM ledger.schedules WHERE id = owner))
SELECT FROM late
"""


async def announce(db: Database, owner: UUID, folder: str) -> None:
    """Note that `folder` is about to be written to for a job or schedule that is not there yet.

    If the process dies before it is, the folder goes all the same. Raises Unavailable.
    """
    await db.fetch("INSERT INTO ledger.uploads (owner, folder) VALUES ($1, $2)", owner, folder)


async def throw_away_unclaimed(db: Database, limit: int) -> int:
    """Note folders for removal that nobody came for; how many were looked at. Raises Unavailable."""
    return len(await db.fetch(_THROW_AWAY_UNCLAIMED, UNCLAIMED_AFTER_S, limit))


_TRASH = """
SELECT folder FROM ledger.trash t
WHERE schedule IS NULL OR NOT EXISTS (
  SELECT FROM ledger.jobs j WHERE j.schedule = t.schedule AND j.finished_at IS NULL)
LIMIT $1
"""


async def trash(db: Database, limit: int) -> list[str]:
    """Folders of the blob store that nobody needs any more. Raises Unavailable."""
    return [row[0] for row in await db.fetch(_TRASH, limit)]


async def throw_away(db: Database, folder: str, schedule: UUID) -> None:
    """Note the folder of a schedule for removal, when the last of its jobs has ended. Raises Unavailable."""
    await db.fetch("INSERT INTO ledger.trash (folder, schedule) VALUES ($1, $2)", folder, schedule)


async def emptied(db: Database, folders: Sequence[str]) -> None:
    """These folders are gone. Raises Unavailable."""
    await db.fetch("DELETE FROM ledger.trash WHERE folder = ANY($1)", folders)
