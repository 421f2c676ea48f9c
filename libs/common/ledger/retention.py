"""Retention: old jobs removed, and the folders of the blob store that nobody needs any more."""

from collections.abc import Sequence
from uuid import UUID

from libs.common.db import Database

# The rows go first, and in the same statement their folders are noted for removal: a job that somebody retries
# at this moment keeps its upload, and no crash leaves a file that nobody knows of. The folder is blobs.job_folder.
CHILDREN_AT_A_TIME = 10_000
"""Struck off in one statement, and what is left of the last flow."""
_REMOVE_ENDED = """
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


async def remove_ended_jobs(db: Database, *, older_than_s: float, limit: int) -> int:
    """Remove up to `limit` jobs that ended longer ago than that, oldest first; how many. Raises Unavailable."""
    return len(await db.fetch(_REMOVE_ENDED, older_than_s, limit, CHILDREN_AT_A_TIME))


UNCLAIMED_AFTER_S = 3600.0
"""Longer than any request takes."""
_MARK_UNCLAIMED = """
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


async def announce_upload(db: Database, owner: UUID, folder: str) -> None:
    """Note that `folder` is about to be written to for a job or schedule that is not there yet.

    If the process dies before it is, the folder goes all the same. Raises Unavailable.
    """
    await db.fetch("INSERT INTO ledger.uploads (owner, folder) VALUES ($1, $2)", owner, folder)


async def mark_unclaimed_uploads(db: Database, limit: int) -> int:
    """Note folders for removal that nobody came for; how many were looked at. Raises Unavailable."""
    return len(await db.fetch(_MARK_UNCLAIMED, UNCLAIMED_AFTER_S, limit))


_UNNEEDED = """
SELECT folder FROM ledger.trash t
WHERE schedule IS NULL OR NOT EXISTS (
  SELECT FROM ledger.jobs j WHERE j.schedule = t.schedule AND j.finished_at IS NULL)
LIMIT $1
"""


async def unneeded_folders(db: Database, limit: int) -> list[str]:
    """Folders of the blob store that nobody needs any more. Raises Unavailable."""
    return [row[0] for row in await db.fetch(_UNNEEDED, limit)]


async def mark_schedule_folder(db: Database, folder: str, schedule: UUID) -> None:
    """Note the folder of a schedule for removal, when the last of its jobs has ended. Raises Unavailable."""
    await db.fetch("INSERT INTO ledger.trash (folder, schedule) VALUES ($1, $2)", folder, schedule)


async def forget_folders(db: Database, folders: Sequence[str]) -> None:
    """These folders are gone. Raises Unavailable."""
    await db.fetch("DELETE FROM ledger.trash WHERE folder = ANY($1)", folders)
