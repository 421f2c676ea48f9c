"""A database is migrated while workers of the version before work on it: they lose nothing and notice nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from structlog.testing import capture_logs

from deploy.local.test_servers import Trio
from deploy.migrations.__main__ import upgrade
from libs.common import background, db
from libs.common.bus import Bus
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import GATEWAY, MAILER, OCR, Role, ServiceRow, login_of
from libs.common.db import Connection, Database
from libs.common.ledger.flows import NewChild
from libs.common.ledger.jobs import NewJob
from libs.common.worker.job import Done, FanOut, Job
from libs.common.worker.worker import Worker
from services.gateway.engine.dispatcher import Dispatcher
from tests.polling import until

BEFORE = "0012"
RELEASED = "0010"
"""The revision of version 0.1.0."""
WORKERS = (OCR, MAILER)
"""Those of that version, and of BEFORE."""
LOGINS = {
    "one each": {login_of(worker.name): worker.role.names for worker in WORKERS},
    "one for all": {"of_all": (Role.WORKER.name, *(name for worker in WORKERS for name in worker.role.names))},
}
ENDED = "SELECT count(*) FROM ledger.jobs WHERE parent IS NULL AND finished_at IS NOT NULL"
ODD = """
SELECT queue, state, errors, attempt FROM ledger.jobs
WHERE state <> 'succeeded' OR failures > 0 OR attempt <> CASE WHEN parent IS NULL THEN 2 ELSE 1 END
"""

EFFECTS = {
    "ocr": "INSERT INTO ocr.readings (tenant, digest, folder, summary) VALUES ('dev', uuid_send(:id), 'f', '{}')",
    "mailer": "INSERT INTO mail.letters (id, tenant, content) VALUES (:id, 'dev', '{}')",
}
"""What each service writes with the end of a job, by kind of job."""


class Nothing(BaseModel):
    """An empty payload."""


async def handle(job: Job[Nothing], _deps: None) -> Done | FanOut:
    """What services do: fan out, report progress, and write with the end of the job."""
    job.progress(1, 1, "note")
    if job.parent is None and not job.children:
        return FanOut((NewChild(job.kind, b"{}"), NewChild(job.kind, b"{}")))

    async def effects(connection: Connection) -> None:
        await connection.execute(text(EFFECTS[job.kind]), {"id": job.id})

    return Done({"done": True}, effects=effects)


@pytest.fixture
async def address(servers: Trio, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A database of the version before, or of the one that a test names."""
    owner = await asyncpg.connect(servers.postgres.url)
    await owner.execute("CREATE DATABASE rolled_out")
    address = servers.postgres.url.rpartition("/")[0] + "/rolled_out"
    await asyncio.to_thread(upgrade, settings(address), revision=getattr(request, "param", BEFORE))
    yield address
    await owner.execute("DROP DATABASE rolled_out WITH (FORCE)")
    for login in {login for logins in LOGINS.values() for login in logins}:
        await owner.execute(f"DROP ROLE IF EXISTS {login}")
    await owner.close()


def settings(address: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"database_url": address})


@asynccontextmanager
async def working(
    address: str, bus: Bus, services: Sequence[ServiceRow], login: str | None
) -> AsyncIterator[None]:
    """A worker of each of `services`, with its own login unless there is one for all."""
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        tasks = []
        for service in services:
            own = f"postgresql://{login or login_of(service.name)}:x@{address.rpartition('@')[2]}"
            pool = await stack.enter_async_context(db.connect(settings(own), service.name, role=service.role))
            worker = Worker(service.name, Nothing, handle, None, database=pool, bus=bus, slots=5, grace_s=60)
            await stack.enter_async_context(worker.lease.kept())
            tasks.append(asyncio.create_task(worker.run(stop)))
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)


@pytest.mark.parametrize("kind", LOGINS)
async def test_workers_that_run_go_on_while_the_database_is_migrated(
    address: str, nats_bus: Bus, kind: str
) -> None:
    owner = await asyncpg.connect(address)
    for name, roles in LOGINS[kind].items():
        await owner.execute(f"CREATE ROLE {name} LOGIN NOINHERIT PASSWORD 'x' IN ROLE {', '.join(roles)}")
    login = "of_all" if kind == "one for all" else None
    async with db.connect(settings(address), "gateway", role=GATEWAY.role) as gateway:
        dispatcher = Dispatcher(gateway, nats_bus, [worker.name for worker in WORKERS])
        async with (
            background.alongside(background.optional(dispatcher.run())),
            working(address, nats_bus, WORKERS, login),
        ):
            accepting = asyncio.Event()
            accepted = asyncio.create_task(accept(dispatcher, accepting))
            await until(lambda: ended(gateway, 10))
            await asyncio.to_thread(upgrade, settings(address))
            migrated_at = await ended(gateway, 0)
            await until(lambda: ended(gateway, migrated_at + 20))
            accepting.set()
            number = await accepted
            await until(lambda: ended(gateway, number))
        assert await gateway.fetch(ODD) == []
        assert not await gateway.fetch("SELECT FROM ledger.workers"), "they have deregistered"
    queues = {row[0] for row in await owner.fetch("SELECT DISTINCT queue FROM ledger.jobs")}
    assert queues == {worker.name for worker in WORKERS}
    assert await owner.fetchval("SELECT max(version_num) FROM alembic_version") > BEFORE
    await owner.close()


@pytest.mark.parametrize("address", [RELEASED], indirect=True)
async def test_processes_that_come_before_their_migrations_lose_nothing(address: str, nats_bus: Bus) -> None:
    """As after `kubectl apply` without the Job. What they cannot do yet they do when the schema is there."""
    owner = await asyncpg.connect(address)
    for name, roles in LOGINS["one each"].items():
        await owner.execute(f"CREATE ROLE {name} LOGIN NOINHERIT PASSWORD 'x' IN ROLE {', '.join(roles)}")
    async with db.connect(settings(address), "gateway", role=GATEWAY.role) as gateway:
        dispatcher = Dispatcher(gateway, nats_bus, [worker.name for worker in WORKERS])
        async with (
            background.alongside(background.optional(dispatcher.run())),
            working(address, nats_bus, WORKERS, None),
        ):
            with capture_logs() as told:
                for number in range(20):
                    queue = WORKERS[number % len(WORKERS)].name
                    await dispatcher.accept(NewJob("dev", "key", queue, queue, b"{}"))

                async def failed() -> bool:
                    return any(line["event"] == "background.bug" for line in told)

                await until(failed)
            await asyncio.to_thread(upgrade, settings(address))
            await until(lambda: ended(gateway, 20))
        assert await gateway.fetch(ODD) == []
    await owner.close()


async def accept(dispatcher: Dispatcher, enough: asyncio.Event) -> int:
    """Jobs for every queue, one after the other, until there are enough. Returns how many."""
    for number in count():
        if enough.is_set():
            return number
        queue = WORKERS[number % len(WORKERS)].name
        await dispatcher.accept(NewJob("dev", "key", queue, queue, b"{}"))
        await asyncio.sleep(0.01)
    raise AssertionError


async def ended(gateway: Database, number: int) -> int:
    """How many jobs have ended, if `number` have."""
    found = int((await gateway.fetch(ENDED))[0][0])
    return found if found >= number else 0


@pytest.mark.usefixtures("template")
async def test_a_membership_that_another_owner_granted_is_not_passed_over(servers: Trio) -> None:
    """Two databases on a server, whose owners are no superusers: the first has made the roles members."""
    root = await asyncpg.connect(servers.postgres.url)
    roles = await root.fetchval("SELECT string_agg(rolname, ', ') FROM pg_roles WHERE rolname ~ '^argosy_'")
    place = servers.postgres.url.rpartition("@")[2].rpartition("/")[0]
    first, second = (settings(f"postgresql://{owner}:x@{place}/{owner}") for owner in ("first", "second"))
    for owner in ("first", "second"):
        await root.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'x'")
        await root.execute(f"GRANT {roles} TO {owner} WITH ADMIN OPTION")
        await root.execute(f"CREATE DATABASE {owner} OWNER {owner}")
    try:
        for database in (first, second):
            await asyncio.to_thread(upgrade, database, revision=BEFORE)
        with pytest.raises(ProgrammingError, match='privileges granted by role "first"'):
            await asyncio.to_thread(upgrade, second)
        for database in (first, second):
            await asyncio.to_thread(upgrade, database)
        names = [name for worker in WORKERS for name in worker.role.names]
        assert not await root.fetch("SELECT FROM pg_auth_members WHERE member::regrole::text = ANY($1)", names)
    finally:
        for owner in ("first", "second"):
            await root.execute(f"DROP DATABASE {owner} WITH (FORCE)")
            await root.execute(f"DROP OWNED BY {owner}")
        for owner in ("second", "first"):
            await root.execute(f"DROP ROLE {owner}")
        await root.close()
