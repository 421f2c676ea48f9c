"""Flows: a job's children do its work, it waits for them, and then takes its last step.

A parent that waits holds no slot. It goes back to its queue when all its children have ended, however they ended:
the worker that ends the last one looks, after its commit; should it die in between, the dispatcher looks too. No
counter is kept that could be wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from libs.common.db import Database
from libs.common.ledger.durability import LAZILY
from libs.common.ledger.jobs import State, new_id
from libs.common.unnest import Columns

AT_ONCE = 4
"""Children whose tickets are published with the fan-out, where nothing else waits; the rest follows in turn."""


@dataclass(frozen=True, slots=True)
class NewChild:
    """A child as its parent makes it. What is not said here it has from its parent. `payload`: a JSON document."""

    kind: str
    payload: bytes
    id: UUID = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Child:
    """What became of a child."""

    id: UUID
    state: State
    payload: dict[str, Any]
    result: dict[str, Any] | None
    artifacts: list[dict[str, Any]]
    error: dict[str, Any] | None


# A child stands a second behind the one before it, so that one long flow does not hold up all that came after it.
# Tickets go out at once only where they overtake nobody: nothing waits, nothing is capped.
_OPEN = """
NOT EXISTS (SELECT FROM ledger.jobs w WHERE w.queue = {job}.queue AND w.state = 'queued' AND w.ticketed_at IS NULL)
AND NOT EXISTS (SELECT FROM ledger.queues q WHERE q.name = {job}.queue
  AND (q.paused_at IS NOT NULL OR q.max_running IS NOT NULL OR q.max_running_per_tenant IS NOT NULL))
"""
_CHILDREN_MADE: Columns[NewChild] = Columns(
    id="uuid", kind="text", payload=("jsonb", lambda child: child.payload.decode())
)
_FAN_OUT = f"""
WITH p AS (
  UPDATE ledger.jobs SET state = 'waiting', worker = NULL, children = cardinality($4::uuid[]), progress = $7::jsonb
  WHERE id = $1 AND attempt = $2 AND worker IS NOT DISTINCT FROM $3 AND state = 'running'
    AND cancel_requested_at IS NULL
  RETURNING id, tenant, created_by, queue, priority, rank, tags, trace, max_attempts, timeout_s),
born AS (
  INSERT INTO ledger.jobs
    (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, trace, max_attempts, timeout_s,
     due_at, ticketed_at, parent)
  SELECT c.id, p.tenant, p.created_by, p.queue, c.kind, 'queued', p.priority, p.rank + place * interval '1 second',
         c.payload, p.tags, p.trace, p.max_attempts, p.timeout_s, now(),
         CASE WHEN place <= $8 AND {_OPEN.format(job="p")} THEN now() END, p.id
  FROM p, {_CHILDREN_MADE.unnested("c", first=4, ordinality="place")}
  RETURNING id, queue, ticketed_at),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount) SELECT queue, 'accepted', count(*) FROM born GROUP BY queue)
SELECT id, ticketed_at IS NOT NULL FROM born
"""  # noqa: S608 - made of constants


async def fan_out(
    db: Database,
    worker: UUID,
    parent: UUID,
    attempt: int,
    children: Sequence[NewChild],
    progress: dict[str, Any],
) -> list[UUID] | None:
    """Let the job wait for `children`, in one transaction; None if it is no longer ours, or no longer wanted.

    Returns the children whose tickets the caller is to publish. Raises Unavailable.
    """
    document = orjson.dumps(progress).decode()
    rows = await db.fetch(_FAN_OUT, parent, attempt, worker, *_CHILDREN_MADE.arrays(children), document, AT_ONCE)
    return [row[0] for row in rows if row[1]] if rows else None


_WAKE = f"""
UPDATE ledger.jobs p SET
  state = 'queued', progress = progress || jsonb_build_object('done', children),
  ticketed_at = CASE WHEN {_OPEN.format(job="p")} THEN now() END
WHERE p.state = 'waiting' AND ($1::uuid[] IS NULL OR p.id = ANY($1))
  AND NOT EXISTS (SELECT FROM ledger.jobs c
                  WHERE c.parent = p.id AND c.parent IS NOT NULL AND c.finished_at IS NULL)
  AND {LAZILY}
RETURNING id, queue, ticketed_at IS NOT NULL
"""  # noqa: S608 - made of constants


async def wake(db: Database, parents: Sequence[UUID] | None = None) -> list[tuple[UUID, str]]:
    """Queue those parents whose children have all ended; None: of all that wait.

    Returns (id, queue) of those whose tickets the caller is to publish. Raises Unavailable.
    """
    rows = await db.fetch(_WAKE, parents)
    return [(row[0], row[1]) for row in rows if row[2]]


_CHILDREN = """
SELECT id, state, payload, result, artifacts, errors -> -1 FROM ledger.jobs WHERE parent = $1 ORDER BY id
"""


async def children_of(db: Database, parent: UUID) -> tuple[Child, ...]:
    """All children of a job, in the order they were made. Raises Unavailable."""
    return tuple(
        Child(row[0], State(row[1]), row[2], row[3], row[4] or [], row[5])
        for row in await db.fetch(_CHILDREN, parent)
    )
