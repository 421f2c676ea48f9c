"""Accounting: the jobs accepted minus the jobs ended must equal the unfinished jobs.

The transactions that accept, end and retry jobs insert entries, each as a separate row, so that they do not wait
for each other. This module sums the entries up.
"""

from typing import Any

from libs.common.db import LONG_S, Database
from libs.common.ledger.queues import LIVE

_BALANCE = f"""
WITH totals AS (
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
FROM totals FULL JOIN live USING (queue)
"""  # noqa: S608 - built from constants


async def balance(db: Database) -> list[dict[str, Any]]:
    """Compare each queue's entries with its jobs at one moment. `unaccounted` is the difference, and must be 0.

    It counts the unfinished jobs, so its cost grows with the backlog. Raises Unavailable.
    """
    return [dict(row) for row in await db.fetch(_BALANCE, timeout_s=LONG_S)]


_COMPACT = """
WITH gone AS (DELETE FROM ledger.entries RETURNING queue, what, amount)
INSERT INTO ledger.entries (queue, what, amount)
SELECT queue, what, sum(amount) FROM gone GROUP BY queue, what
"""


async def compact_entries(db: Database) -> None:
    """Replace the entries of each queue and kind by their sum. Raises Unavailable."""
    await db.fetch(_COMPACT, timeout_s=LONG_S)


async def stored_bytes(db: Database) -> int:
    """The total bytes of uploads and artifacts of all jobs. Raises Unavailable."""
    sql = "SELECT coalesce(sum(amount), 0)::bigint FROM ledger.entries WHERE what = 'bytes'"
    ((number,),) = await db.fetch(sql, timeout_s=LONG_S)
    return int(number)
