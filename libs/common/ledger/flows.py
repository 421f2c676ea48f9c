"""Flows: a job fans out into children that do the work, waits for them, and then runs once more.

A waiting parent holds no slot. It goes back to its queue when all its children have ended, whatever their
outcome. The worker that finishes a child checks this after its commit. In case that worker dies in between, the
dispatcher checks it too. There is no counter that could become wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from libs.common.db import PROMPT_S, Database
from libs.common.ledger.by_id import in_state
from libs.common.ledger.durability import LAZILY
from libs.common.ledger.jobs import State, new_id
from libs.common.unnest import Columns

CHILD_YIELDS_S = 10.0
"""How far each child is ranked behind the one before. Most take less, so what the tenant sends in the meantime
comes before those that have not begun."""
CHILD_YIELDS_AT_MOST_S = 600.0
"""How far a child is ranked behind its parent at most, so that what is sent later delays no flow for ever."""


@dataclass(frozen=True, slots=True)
class NewChild:
    """A child to create. It inherits everything else from its parent. `payload` is a JSON document."""

    kind: str
    payload: bytes
    id: UUID = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Child:
    """A child that has ended, with its outcome."""

    id: UUID
    state: State
    payload: dict[str, Any]
    result: dict[str, Any] | None
    artifacts: list[dict[str, Any]]
    error: dict[str, Any] | None


# Tickets are published with the fan-out only if they overtake no other job: nothing waits, there is no cap, and
# the queue is not shared. One for each slot is enough: the dispatcher comes before a slot needs a second.
_OPEN = """
NOT EXISTS (SELECT FROM ledger.jobs w WHERE w.queue = {job}.queue AND w.state = 'queued' AND w.ticketed_at IS NULL)
AND NOT EXISTS (SELECT FROM ledger.queues q WHERE q.name = {job}.queue
  AND (q.paused_at IS NOT NULL OR q.max_running IS NOT NULL OR q.max_running_per_tenant IS NOT NULL
       OR q.shared_until > now()))
"""
_CHILDREN_MADE: Columns[NewChild] = Columns(
    id=("uuid", lambda child: child.id),
    kind=("text", lambda child: child.kind),
    payload=("jsonb", lambda child: child.payload.decode()),
)
_FAN_OUT = f"""
WITH p AS (
  UPDATE ledger.jobs SET state = 'waiting', worker = NULL, children = cardinality($4::uuid[]), progress = $7::jsonb
  WHERE id = $1 AND attempt = $2 AND worker IS NOT DISTINCT FROM $3 AND {in_state(State.RUNNING)}
    AND cancel_requested_at IS NULL
  RETURNING id, tenant, created_by, queue, priority, rank, tags, trace, max_attempts, timeout_s),
inserted AS (
  INSERT INTO ledger.jobs
    (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, trace, max_attempts, timeout_s,
     due_at, ticketed_at, parent)
  SELECT c.id, p.tenant, p.created_by, p.queue, c.kind, 'queued', p.priority,
         p.rank + place * interval '1 ms'
           + least(place * {CHILD_YIELDS_S}, {CHILD_YIELDS_AT_MOST_S}) * interval '1 s',
         c.payload, p.tags, p.trace, p.max_attempts, p.timeout_s, now(),
         CASE WHEN place <= (SELECT sum(slots) FROM ledger.workers w WHERE w.queue = p.queue)
              AND {_OPEN.format(job="p")} THEN now() END, p.id
  FROM p, {_CHILDREN_MADE.unnested("c", first=4, ordinality="place")}
  RETURNING id, queue, ticketed_at),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount) SELECT queue, 'accepted', count(*) FROM inserted GROUP BY queue)
SELECT id, ticketed_at IS NOT NULL FROM inserted
"""  # noqa: S608 - built from constants


async def fan_out(
    db: Database,
    worker: UUID,
    parent: UUID,
    attempt: int,
    children: Sequence[NewChild],
    progress: dict[str, Any],
) -> list[UUID] | None:
    """Insert `children` and let the parent wait for them, in one transaction.

    Returns the ids of the children whose tickets the caller must publish. None if the worker no longer holds the
    parent, or if a cancel was requested. Raises Unavailable.
    """
    document = orjson.dumps(progress).decode()
    rows = await db.fetch(_FAN_OUT, parent, attempt, worker, *_CHILDREN_MADE.arrays(children), document)
    return [row[0] for row in rows if row[1]] if rows else None


_WAKE = f"""
UPDATE ledger.jobs p SET
  state = 'queued', progress = progress || jsonb_build_object('done', children),
  ticketed_at = CASE WHEN {_OPEN.format(job="p")} THEN now() END
WHERE {{which}}
  AND NOT EXISTS (SELECT FROM ledger.jobs c
                  WHERE c.parent = p.id AND c.parent IS NOT NULL AND c.finished_at IS NULL)
  AND {LAZILY}
RETURNING id, queue, ticketed_at IS NOT NULL
"""  # noqa: S608 - built from constants
_WAKE_ONE = _WAKE.format(which=f"p.id = $1 AND {in_state(State.WAITING, 'p')}")
_WAKE_ALL = _WAKE.format(which="p.state = 'waiting'")


async def wake(db: Database, parent: UUID | None = None) -> list[tuple[UUID, str]]:
    """Queue `parent` if its children have all ended (None: all waiting parents of which that is so).

    Returns (id, queue) of those whose tickets the caller must publish. Raises Unavailable.
    """
    which = (_WAKE_ALL,) if parent is None else (_WAKE_ONE, parent)
    rows = await db.fetch(*which, timeout_s=PROMPT_S)
    return [(row[0], row[1]) for row in rows if row[2]]


async def number_of_children(db: Database, parent: UUID) -> int:
    """How many children a job has. Raises Unavailable."""
    rows = await db.fetch("SELECT children FROM ledger.jobs WHERE id = $1", parent, timeout_s=PROMPT_S)
    return int(rows[0][0]) if rows else 0


_CHILDREN = """
SELECT id, state, payload, result, artifacts, errors -> -1 FROM ledger.jobs WHERE parent = $1 ORDER BY id
"""


async def children_of(db: Database, parent: UUID) -> tuple[Child, ...]:
    """All children of a job, in the order of their creation. Raises Unavailable."""
    return tuple(
        Child(row[0], State(row[1]), row[2], row[3], row[4] or [], row[5])
        for row in await db.fetch(_CHILDREN, parent)
    )
