"""Accounting: what was accepted, less what ended, must be what there is.

Entries are written in the very transactions that accept, end and retry, each a row of its own, so that nobody
waits for anybody; here they are summed up.
"""

from typing import Any

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
    """Each queue's entries against its jobs, at one moment. Counts what waits. Raises Unavailable."""
    return [dict(row) for row in await db.fetch(_BALANCE)]


_COMPACT = """
WITH gone AS (DELETE FROM ledger.entries RETURNING queue, what, amount)
INSERT INTO ledger.entries (queue, what, amount)
SELECT queue, what, sum(amount) FROM gone GROUP BY queue, what
"""


async def compact_entries(db: Database) -> None:
    """Make one entry of many. Raises Unavailable."""
    await db.fetch(_COMPACT)


async def stored_bytes(db: Database) -> int:
    """Of the uploads and artifacts of all jobs. Raises Unavailable."""
    sql = "SELECT coalesce(sum(amount), 0)::bigint FROM ledger.entries WHERE what = 'bytes'"
    ((number,),) = await db.fetch(sql)
    return int(number)
