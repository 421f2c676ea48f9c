"""A ledger with jobs of all queues, and the logins of services that were taken over."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg

from deploy.permissions import postgres_logins
from libs.common.contracts.datasets import DATASETS
from libs.common.contracts.services import QUEUES, SERVICES, ServiceRow, login_of
from libs.common.ledger.jobs import new_id

WORKERS = [service for service in SERVICES if service.is_worker]
TENANTS = ("a", "b")
CANARY = "canary of"
TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE (relkind = $1 OR $1 = 'r' AND relkind = 'p')
  AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
"""
INSERTS = {
    "jobs": """INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags,
      max_attempts, timeout_s, due_at)
      VALUES (gen_random_uuid(), 'a', 'key', $1, 'k', 'queued', 'normal', now(), '{}', '[]', 1, 1, now())""",
    "workers": "INSERT INTO ledger.workers (id, queue, slots, host, pid)"
    " VALUES (gen_random_uuid(), $1, 1, 'h', 1)",
    "queues": "INSERT INTO ledger.queues (name, worker_seen_at) VALUES ($1, now())"
    " ON CONFLICT (name) DO UPDATE SET worker_seen_at = now()",
    "entries": "INSERT INTO ledger.entries (queue, what, amount) VALUES ($1, 'ended', 1)",
}
"""A row of a queue in each table of the ledger that workers write to."""

JOB = """
INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, max_attempts,
  timeout_s, due_at, idempotency_key)
VALUES ($1, $2, 'key', $3, 'k', 'queued', 'normal', now(), jsonb_build_object('words', $4::text), '[]', 1, 1,
  now(), $3)
"""


async def fill(owner: asyncpg.Connection) -> None:
    """Some of everything in the ledger, for each queue and tenant."""
    for queue in QUEUES:
        for table, statement in INSERTS.items():
            if table != "jobs":
                await owner.execute(statement, queue)
        for tenant in TENANTS:
            await owner.execute(JOB, new_id(), tenant, queue, f"{CANARY} {queue}")
    await owner.execute("INSERT INTO ledger.trash (folder) VALUES ('jobs/a')")
    await owner.execute("INSERT INTO ledger.uploads (owner, folder) VALUES (gen_random_uuid(), 'jobs/a')")
    await owner.execute(
        "INSERT INTO ledger.schedules (id, tenant, created_by, name, queue, kind, payload, fields, cron, timezone,"
        " catch_up) VALUES (gen_random_uuid(), 'a', 'key', 'n', 'ocr', 'k', '{}', '{}', '0 3 * * *', 'UTC', 'one')"
    )
    await owner.execute(
        "INSERT INTO ledger.replays (id, tenant, created_by, filter, matched)"
        " VALUES (gen_random_uuid(), 'a', 'key', '{}', 1)"
    )


@asynccontextmanager
async def taken_over(
    owner: asyncpg.Connection, database_url: str, *services: ServiceRow
) -> AsyncIterator[list[asyncpg.Connection]]:
    """A connection with the login of each of `services`, which exists while the block runs."""
    statements = postgres_logins(lambda _service: "'x'", services)
    place = database_url.rpartition("@")[2]
    connections: list[asyncpg.Connection] = []
    try:
        for login, statement in statements.items():
            await owner.execute(statement)
            connections.append(await asyncpg.connect(f"postgresql://{login}:x@{place}"))
        yield connections
    finally:
        for connection in connections:
            await connection.close()
        for login in statements:
            await owner.execute(f"DROP ROLE IF EXISTS {login}")


def readable(service: ServiceRow) -> dict[str, frozenset[str]]:
    """The columns that other services publish and that this one may read on behalf of a tenant, by table."""
    return {one.table: one.sources for one in DATASETS.values()} if service.reads_datasets else {}


def guises(service: ServiceRow) -> Iterator[tuple[str, str]]:
    """Every role that the login can work as, with each tenant that it may name."""
    for role in (login_of(service.name), *service.role.names):
        for tenant in ("", *TENANTS):
            yield role, tenant


async def tried(
    connection: asyncpg.Connection, role: str, statement: str, *values: object, tenant: str = ""
) -> list[asyncpg.Record] | None:
    """The rows of `statement`, which is then undone. None if it was refused."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f'SET LOCAL ROLE "{role}"')
        await connection.execute("SELECT set_config('argosy.tenant', $1, true)", tenant)
        return list(await connection.fetch(statement, *values))
    except asyncpg.InsufficientPrivilegeError:
        return None
    finally:
        await transaction.rollback()


async def tables_of(owner: asyncpg.Connection, kind: bytes = b"r") -> list[str]:
    """The tables of all schemas (`kind` S: the sequences), each with its schema."""
    return [row[0] for row in await owner.fetch(TABLES, kind)]
