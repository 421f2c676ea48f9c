"""Steps in the life of a job, for the tests of the ledger."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import consistency_check, jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.claim import Claim
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.jobs import NewJob, State, new_id


def new_job(**changes: Any) -> NewJob:
    """A job of tenant `dev` in queue `q`."""
    facts = {"tenant": "dev", "created_by": "key", "queue": "q", "kind": "k", "payload": b'{"n": 1}'} | changes
    return NewJob(**facts)


async def accepted(database: Database, *new: NewJob) -> list[UUID]:
    """The ids of jobs whose tickets are out."""
    return [one.id for one in await accept(database, new, ticketed=[True] * len(new))]


async def worker(database: Database, queue: str = "q", slots: int = 9) -> UUID:
    """A worker that has just registered."""
    worker_id = new_id()
    await leases.register(database, worker_id, queue=queue, slots=slots, host="h", pid=1)
    return worker_id


async def claimed(database: Database, worker_id: UUID, *new: NewJob) -> list[Claim]:
    """New jobs in the hands of a worker."""
    return await leases.claim(database, worker_id, await accepted(database, *new))


async def ticket(database: Database, *ids: UUID) -> None:
    """Mark jobs as ticketed."""
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = now() WHERE id = ANY($1)", ids)


async def end(database: Database, ids: Sequence[UUID], state: State, code: str = "bug") -> None:
    """Run them, to that end."""
    worker_id = await worker(database)
    await ticket(database, *ids)
    claims = await leases.claim(database, worker_id, ids)
    failed = state is State.FAILED
    error = {"code": code, "message": "…"} if failed else None
    outcomes = [Outcome(claim.id, claim.attempt, state, error=error, failed=failed) for claim in claims]
    assert all(await finish(database, worker_id, outcomes))


async def die(database: Database, worker_id: UUID) -> None:
    """A worker has been silent for an hour."""
    await database.fetch(
        "UPDATE ledger.workers SET heartbeat_at = now() - interval '1 hour' WHERE id = $1", worker_id
    )


async def state_of(database: Database, job_id: UUID) -> str:
    """Of whichever tenant."""
    rows = await database.fetch("SELECT state FROM ledger.jobs WHERE id = $1", job_id)
    return str(rows[0][0])


async def facts(database: Database, job_id: UUID) -> dict[str, Any]:
    """What tenant `dev` is shown of a job."""
    found = await jobs.find(database, "dev", job_id)
    assert found is not None
    return dict(found)


async def unaccounted(database: Database) -> dict[str, int]:
    """By queue; 0 is as it should be."""
    return {row["queue"]: row["unaccounted"] for row in await consistency_check.balance(database)}


async def long_backlog(database: Database, tenants: int) -> None:
    """Let 20,000 jobs of so many tenants wait in queue q, and the planner know of them."""
    await database.fetch(
        """INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags,
                                    max_attempts, timeout_s, due_at)
           SELECT gen_random_uuid(), 't' || (n % $1)::text, 'k', 'q', 'k', 'queued', 'normal', now(), '{}', '[]',
                  5, 60, now() FROM generate_series(1, 20000) n""",
        tenants,
    )
    await database.fetch("ANALYZE ledger.jobs")
