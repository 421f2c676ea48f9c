"""Retention: removes old jobs, and finds the folders of the blob store that are no longer needed."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from libs.common.db import LONG_S, PROMPT_S, Database, fetch_within
from libs.common.ledger.durability import CONFIRMED

# One statement deletes the rows and marks their folders for removal. So a job that is retried at this moment keeps
# its upload, and no crash leaves unknown files behind. The folder is that of blobs.job_folder.
CHILDREN_AT_A_TIME = 10_000
"""Children deleted in one statement. A flow is deleted as a whole, so the last one may exceed this."""
_REMOVE_SELECTED = """
gone AS (
  DELETE FROM ledger.jobs
  WHERE id IN (SELECT id FROM selected UNION ALL SELECT c.id FROM ledger.jobs c JOIN selected s ON c.parent = s.id)
  RETURNING id, tenant, queue, state, attempt, bytes, parent),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount)
  SELECT queue, 'bytes', -sum(bytes) FROM gone GROUP BY queue HAVING sum(bytes) > 0),
noted AS (
  INSERT INTO ledger.trash (folder)
  SELECT 'jobs/' || tenant || '/' || replace(id::text, '-', '') FROM gone
  WHERE parent IS NULL AND (bytes > 0 OR attempt > 1 OR state <> 'succeeded'))
SELECT id FROM gone WHERE parent IS NULL
"""
_REMOVE_ONE = f"""
WITH selected AS (
  SELECT id FROM ledger.jobs j
  WHERE id = $1 AND tenant = $2 AND parent IS NULL AND finished_at IS NOT NULL
    AND NOT EXISTS (SELECT FROM ledger.jobs c
                    WHERE c.parent = j.id AND c.parent IS NOT NULL AND c.finished_at IS NULL)
  FOR UPDATE),
{_REMOVE_SELECTED}
"""  # noqa: S608 - built from constants
# The queues are those that have ended jobs, each found by one step in the index. Of each, the oldest jobs are
# locked, and the oldest of these are removed.
_REMOVE_ENDED = f"""
WITH RECURSIVE queues AS (
  (SELECT queue FROM ledger.jobs WHERE finished_at IS NOT NULL ORDER BY queue LIMIT 1)
  UNION ALL
  SELECT (SELECT j.queue FROM ledger.jobs j WHERE j.finished_at IS NOT NULL AND j.queue > q.queue
          ORDER BY j.queue LIMIT 1)
  FROM queues q WHERE q.queue IS NOT NULL),
ages AS (
  SELECT q.queue, now() - $1 * interval '1 second' AS before,
         now() - coalesce(s.older_than_s, $1) * interval '1 second' AS succeeded_before
  FROM queues q LEFT JOIN unnest($4::text[], $5::float8[]) AS s (queue, older_than_s) USING (queue)
  WHERE q.queue IS NOT NULL),
old AS (
  SELECT j.id, j.children FROM ages a CROSS JOIN LATERAL (
    SELECT id, children, finished_at FROM ledger.jobs j
    WHERE j.queue = a.queue AND finished_at < greatest(a.before, a.succeeded_before)
      AND finished_at < CASE WHEN state = 'succeeded' THEN a.succeeded_before ELSE a.before END
      AND parent IS NULL
      AND NOT EXISTS (SELECT FROM ledger.jobs c
                      WHERE c.parent = j.id AND c.parent IS NOT NULL AND c.finished_at IS NULL)
    ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED) j
  ORDER BY j.finished_at LIMIT $2),
selected AS (
  SELECT id FROM (SELECT id, sum(children) OVER (ORDER BY id) - children AS before FROM old) o WHERE before < $3),
{_REMOVE_SELECTED}
"""  # noqa: S608 - built from constants


async def remove_ended_jobs(
    db: Database, *, older_than_s: float, limit: int, succeeded_older_than_s: Mapping[str, float] | None = None
) -> int:
    """Remove up to `limit` jobs that ended more than `older_than_s` seconds ago, oldest first. Return how many.

    `succeeded_older_than_s`: another age, by queue, for jobs that have succeeded. Raises Unavailable.
    """
    ages = succeeded_older_than_s or {}
    values = older_than_s, limit, CHILDREN_AT_A_TIME, list(ages), list(ages.values())
    return len(await db.fetch(_REMOVE_ENDED, *values, timeout_s=LONG_S))


async def remove_ended_job(db: Database, tenant: str, job_id: UUID) -> bool:
    """Remove a job of `tenant` that has ended, and its children, and note its folder for removal.

    False if there is none that has ended, or if it is a child or has children that have not. Raises Unavailable.
    """
    async with db.begin(timeout_s=LONG_S) as connection:
        removed = bool(await fetch_within(connection, _REMOVE_ONE, job_id, tenant))
        if not removed:  # an earlier call may have removed it, and the caller is told so
            await fetch_within(connection, f"SELECT {CONFIRMED}")
    return removed


UNCLAIMED_AFTER_S = 3600.0
"""An upload without a job or schedule after this time is removed. It is longer than any request takes."""
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
    """Record that `folder` will be written for the job or schedule `owner`, which does not exist yet.

    If the process dies before it creates the owner, the folder will be removed. Raises Unavailable.
    """
    sql = "INSERT INTO ledger.uploads (owner, folder) VALUES ($1, $2)"
    await db.fetch(sql, owner, folder, timeout_s=PROMPT_S)


async def mark_unclaimed_uploads(db: Database, limit: int) -> int:
    """Mark for removal the folders of old uploads that have no owner. Return how many uploads were checked.

    Raises Unavailable.
    """
    return len(await db.fetch(_MARK_UNCLAIMED, UNCLAIMED_AFTER_S, limit, timeout_s=LONG_S))


# Files cannot be brought back: the rows that named them must be gone from the standby too.
_UNNEEDED = f"""
SELECT folder, {CONFIRMED} FROM ledger.trash t
WHERE schedule IS NULL OR NOT EXISTS (
  SELECT FROM ledger.jobs j WHERE j.schedule = t.schedule AND j.finished_at IS NULL)
LIMIT $1
"""  # noqa: S608 - built from constants


async def unneeded_folders(db: Database, limit: int) -> list[str]:
    """Up to `limit` folders of the blob store that are no longer needed. Raises Unavailable."""
    return [row[0] for row in await db.fetch(_UNNEEDED, limit, timeout_s=LONG_S)]


async def mark_schedule_folder(db: Database, folder: str, schedule: UUID) -> None:
    """Mark a schedule's folder for removal as soon as the last of its jobs has ended. Raises Unavailable."""
    sql = "INSERT INTO ledger.trash (folder, schedule) VALUES ($1, $2)"
    await db.fetch(sql, folder, schedule, timeout_s=PROMPT_S)


async def folders_in_trash(db: Database) -> int:
    """How many folders are to be removed, now or when no job needs them any more. Raises Unavailable."""
    ((number,),) = await db.fetch("SELECT count(*) FROM ledger.trash", timeout_s=LONG_S)
    return int(number)


async def forget_folders(db: Database, folders: Sequence[str]) -> None:
    """Record that `folders` have been removed. Raises Unavailable."""
    await db.fetch("DELETE FROM ledger.trash WHERE folder = ANY($1)", folders, timeout_s=LONG_S)
