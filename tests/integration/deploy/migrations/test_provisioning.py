"""What a new service's migration gets from provisioning.py: tables and a queue that only it reaches."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.local.test_servers import Trio
from deploy.migrations import provisioning
from deploy.migrations.__main__ import upgrade
from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import Role
from libs.common.db import Database
from libs.common.handler_testkit import enqueued
from libs.common.ledger import claim, consistency_check
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, new_id

BILLING = Role("argosy_test_billing", "argosy_test_billing_tenant")
ENQUEUE = """SELECT ledger."mailer:moved"($1, 'dev', 'billing', '{"to": 1}')"""
ENTER = "INSERT INTO billing.invoices (id, tenant) VALUES ($1, $2)"


@pytest.fixture
async def invoices(database: Database) -> None:
    """A new service's table, made twice over as a repeated migration would."""
    for _ in range(2):
        for statement in provisioning.service("billing", *BILLING.names, queue="billing"):
            await database.fetch(statement)
        await database.fetch(
            "CREATE TABLE IF NOT EXISTS billing.invoices (id int PRIMARY KEY, tenant text NOT NULL)"
        )
        for statement in provisioning.table("billing.invoices", BILLING.name, BILLING.of_a_tenant):
            await database.fetch(statement)


@pytest.mark.usefixtures("invoices")
async def test_the_service_sees_all_rows_and_a_tenant_its_own(database_settings: DatabaseSettings) -> None:
    async with db.connect(database_settings, "billing", role=BILLING) as billing:
        await billing.fetch(ENTER, 1, "a", tenant="a")
        await billing.fetch(ENTER, 2, "b")
        assert len(await billing.fetch("SELECT FROM billing.invoices")) == 2
        assert [row[0] for row in await billing.fetch("SELECT id FROM billing.invoices", tenant="a")] == [1]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await billing.fetch(ENTER, 3, "b", tenant="a")


@pytest.mark.usefixtures("invoices")
async def test_another_service_does_not_reach_it(database_settings: DatabaseSettings) -> None:
    for role in (Role.GATEWAY, Role.WORKER):
        async with db.connect(database_settings, "other", role=role) as other:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await other.fetch("SELECT FROM billing.invoices")


@pytest.mark.usefixtures("invoices")
async def test_the_new_role_works_on_its_own_queue(
    database: Database, database_settings: DatabaseSettings
) -> None:
    ours, theirs = (NewJob("dev", "key", queue, "k", b"{}") for queue in ("billing", "ocr"))
    await accept(database, [ours, theirs], ticketed=[True, True])
    async with db.connect(database_settings, "billing", role=BILLING) as billing:
        worker = new_id()
        await claim.register(billing, worker, queue="billing", slots=1, host="host", pid=1)
        claimed = await claim.claim(billing, worker, [ours.id, theirs.id])
        assert [job.id for job in claimed] == [ours.id]
        assert len(await enqueued(billing)) == 1


@pytest.mark.usefixtures("invoices")
async def test_run_again_it_takes_back_what_a_role_was_given_meanwhile(
    database: Database, database_settings: DatabaseSettings
) -> None:
    await database.fetch(f"GRANT argosy_worker TO {BILLING.name}, {BILLING.of_a_tenant}")
    await database.fetch(f"GRANT ALL ON ALL TABLES IN SCHEMA ledger TO {BILLING.name}")
    await accept(database, [NewJob("dev", "key", "ocr", "k", b"{}")], ticketed=[True])
    async with db.connect(database_settings, "billing", role=BILLING) as billing:
        assert len(await enqueued(billing)) == 1
        for statement in provisioning.service("billing", *BILLING.names, queue="billing"):
            await database.fetch(statement)
        assert await enqueued(billing) == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await billing.fetch("SELECT FROM ledger.trash")


@pytest.fixture
async def enqueuing(servers: Trio, template: str) -> AsyncIterator[DatabaseSettings]:
    """A database whose owner is no superuser, in which `billing` may make jobs of another queue."""
    place = servers.postgres.url.rpartition("@")[2].rpartition("/")[0]
    settings = DatabaseSettings.model_validate({"database_url": f"postgresql://provider:x@{place}/provided"})
    assert template, "its roles are there"
    root = await asyncpg.connect(servers.postgres.url)
    roles = await root.fetchval("SELECT string_agg(rolname, ', ') FROM pg_roles WHERE rolname ~ '^argosy_'")
    await root.execute("CREATE ROLE provider LOGIN CREATEROLE PASSWORD 'x'")
    await root.execute(f"GRANT {roles} TO provider WITH ADMIN OPTION")
    await root.execute("CREATE DATABASE provided OWNER provider")
    await asyncio.to_thread(upgrade, settings)
    owner = await asyncpg.connect(settings.database_url.get_secret_value())
    for _ in range(2):
        for statement in (
            *provisioning.service("billing", *BILLING.names, queue="billing"),
            *provisioning.may_enqueue(BILLING.name, "mailer", "moved"),
        ):
            await owner.execute(statement)
    await owner.close()
    yield settings
    await root.execute("DROP DATABASE provided WITH (FORCE)")
    for role in BILLING.names:
        await root.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await root.execute("DROP OWNED BY provider; DROP ROLE provider")
    await root.close()


async def test_what_may_be_made_in_another_queue_is_made_once(enqueuing: DatabaseSettings) -> None:
    job = new_id()
    async with (
        db.connect(enqueuing, "billing", role=BILLING) as billing,
        db.connect(enqueuing, "gateway", role=Role.GATEWAY) as gateway,
    ):
        assert [(await billing.fetch(ENQUEUE, job))[0][0] for _ in range(2)] == [True, False]
        (made,) = await enqueued(gateway)
        assert (made["id"], made["queue"], made["kind"], made["state"]) == (str(job), "mailer", "moved", "queued")
        (balance,) = await consistency_check.balance(gateway)
        assert (balance["queue"], balance["accepted"], balance["unaccounted"]) == ("mailer", 1, 0)
        assert await enqueued(billing) == [], "it may make it, not see it"
    other = Role("argosy_ocr")
    async with db.connect(enqueuing, "ocr", role=other) as ocr:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ocr.fetch(ENQUEUE, new_id())


async def test_whoever_may_make_jobs_of_another_queue_cannot_do_more_by_it(enqueuing: DatabaseSettings) -> None:
    """The function has its owner's rights: nothing of the caller's session may take the place of what it calls."""
    deceit = """
    CREATE TEMP TABLE jobs (LIKE ledger.jobs);
    CREATE TEMP TABLE entries (queue text, what text, amount bigint);
    CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;
    CREATE FUNCTION pg_temp.later(timestamptz, interval) RETURNS timestamptz LANGUAGE plpgsql
      AS $$ BEGIN RAISE 'called'; END $$;
    CREATE OPERATOR pg_temp.- (FUNCTION = pg_temp.later, LEFTARG = timestamptz, RIGHTARG = interval);
    SET search_path = pg_temp, pg_catalog, ledger;
    """
    connection = await asyncpg.connect(enqueuing.database_url.get_secret_value())
    await connection.execute(f"SET ROLE {BILLING.name}; {deceit}")
    assert await connection.fetchval(ENQUEUE, new_id())
    assert not await connection.fetch("SELECT FROM pg_temp.jobs")
    for statement in (
        "SELECT FROM ledger.jobs",
        "UPDATE ledger.jobs SET state = 'failed'",
        "DELETE FROM ledger.jobs",
    ):
        await connection.execute(f"RESET ROLE; SET ROLE {provisioning.ENQUEUER}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()
