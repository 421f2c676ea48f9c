"""S6: tenants are kept apart by PostgreSQL itself, whatever a query forgets."""

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.migrations.__main__ import upgrade
from deploy.migrations.provisioning import ENQUEUER
from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import SERVICES, Role
from libs.common.db import Database
from libs.common.errors import Unavailable
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import Filter, NewJob, page

WITH_A_TENANT = """
SELECT c.oid::regclass::text AS name, relrowsecurity, relforcerowsecurity,
  (SELECT count(*) FROM pg_policy p WHERE polrelid = c.oid AND pg_get_expr(polqual, c.oid) = 'true'
     AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = ANY(polroles) AND r.rolname LIKE '%\\_tenant')) AS open,
  (SELECT count(*) FROM pg_policy p WHERE polrelid = c.oid AND 0 = ANY(polroles)) AS for_everybody
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
  AND (EXISTS (SELECT FROM pg_attribute a WHERE attrelid = c.oid AND attname = 'tenant')
       OR c.oid = 'identity.tenants'::regclass)
"""
OURS = "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname LIKE 'argosy\\_%'"
OWNED = (
    "SELECT count(*) FROM pg_class WHERE relowner = ANY(ARRAY(SELECT oid FROM pg_roles WHERE rolname = ANY($1)))"
)
ROLES = (Role.WORKER.name, ENQUEUER, *(name for service in SERVICES for name in service.role.names))
EVERYTHING = "SELECT tenant FROM ledger.jobs"


@pytest.fixture
async def gateway(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A pool of two connections, as a gateway has it."""
    bounds = database_settings.model_copy(update={"db_max_connections": 2})
    async with db.connect(bounds, "gateway", role=Role.GATEWAY) as connected:
        yield connected


@pytest.fixture
async def two_tenants(gateway: Database) -> None:
    """One job of `a` and two of `b`."""
    jobs = [NewJob(tenant, "key", "ocr", "ocr.recognise", b"{}") for tenant in "abb"]
    await accept(gateway, jobs, ticketed=[False] * 3)


async def test_every_table_with_a_tenant_is_secured(database: Database) -> None:
    tables = await database.fetch(WITH_A_TENANT)
    assert {"ledger.jobs", "identity.keys", "identity.tenants", "ocr.documents"} <= {row["name"] for row in tables}
    for row in tables:
        found = [row[fact] for fact in ("relrowsecurity", "relforcerowsecurity", "open", "for_everybody")]
        assert found == [True, True, 0, 0], row["name"]


async def test_no_role_of_ours_is_above_the_policies(database: Database) -> None:
    roles = {row["rolname"]: row for row in await database.fetch(OURS)}
    assert set(ROLES) <= set(roles)
    for name in ROLES:
        assert not any(roles[name][power] for power in ("rolsuper", "rolbypassrls", "rolcanlogin"))
    assert (await database.fetch(OWNED, list(ROLES)))[0][0] == 0


@pytest.mark.usefixtures("two_tenants")
async def test_a_query_that_forgets_the_tenant_sees_only_its_rows(gateway: Database) -> None:
    assert [row[0] for row in await gateway.fetch(EVERYTHING, tenant="a")] == ["a"]
    assert [row[0] for row in await gateway.fetch(EVERYTHING, tenant="b")] == ["b", "b"]
    assert await gateway.fetch(EVERYTHING, tenant="'; RESET ROLE; --") == []
    assert len(await gateway.fetch("DELETE FROM ledger.jobs RETURNING id", tenant="a")) == 1
    assert len(await gateway.fetch(EVERYTHING)) == 2


@pytest.mark.usefixtures("two_tenants")
async def test_without_a_tenant_there_are_no_rows(gateway: Database) -> None:
    async with gateway.begin() as connection:
        await db.fetch_within(connection, "SET LOCAL ROLE argosy_tenant")
        assert await db.fetch_within(connection, EVERYTHING) == []
    await gateway.fetch("SELECT 1", tenant="a")  # leaves nothing behind on its connection
    async with gateway.begin() as connection:
        await db.fetch_within(connection, "SET LOCAL ROLE argosy_tenant")
        assert await db.fetch_within(connection, EVERYTHING) == []


async def test_a_row_of_another_tenant_cannot_be_written(gateway: Database) -> None:
    enter = (
        "INSERT INTO ledger.replays (id, tenant, created_by, filter, matched)"
        " VALUES (gen_random_uuid(), $1, 'key', '{}', 0) RETURNING id"
    )
    ((replay,),) = await gateway.fetch(enter, "a", tenant="a")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await gateway.fetch(enter, "b", tenant="a")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await gateway.fetch("UPDATE ledger.replays SET tenant = 'b' WHERE id = $1", replay, tenant="a")


@pytest.mark.usefixtures("two_tenants")
async def test_a_thousand_interleaved_transactions_never_see_another_tenant(gateway: Database) -> None:
    chance = random.Random(1)  # noqa: S311 - a test's

    async def look(tenant: str) -> None:
        if chance.random() < 0.1:
            with pytest.raises(asyncpg.PostgresError):
                await gateway.fetch("SELECT 1 / 0", tenant=tenant)
        assert {row[0] for row in await gateway.fetch(EVERYTHING, tenant=tenant)} == {tenant}

    async def look_at_all() -> None:
        assert len(await gateway.fetch(EVERYTHING)) == 3

    async def give_up(tenant: str) -> None:
        looking = asyncio.create_task(gateway.fetch("SELECT pg_sleep(10)", tenant=tenant))
        await asyncio.sleep(chance.random() / 200)
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking

    await asyncio.gather(
        *(look(chance.choice("ab")) for _ in range(1000)),
        *(look_at_all() for _ in range(200)),
        *(give_up(chance.choice("ab")) for _ in range(20)),
    )


@pytest.mark.usefixtures("two_tenants")
async def test_the_ledgers_own_reading_is_the_tenants(gateway: Database) -> None:
    assert len(await page(gateway, "b", Filter())) == 2


async def test_an_owner_that_is_no_superuser_and_a_login_that_owns_nothing(
    database: Database, database_settings: DatabaseSettings
) -> None:
    """As in production: one login migrates, another one serves."""
    await database.fetch("CREATE ROLE plain_owner LOGIN CREATEROLE PASSWORD 'x'")
    await database.fetch("CREATE ROLE plain_login LOGIN NOINHERIT PASSWORD 'x'")
    await database.fetch(f"GRANT {', '.join(ROLES)} TO plain_owner WITH ADMIN OPTION")
    await database.fetch("GRANT argosy_gateway, argosy_tenant TO plain_login")
    await database.fetch("CREATE DATABASE plain OWNER plain_owner")
    place = database_settings.database_url.get_secret_value().rpartition("@")[2].rpartition("/")[0]

    def as_login(name: str) -> DatabaseSettings:
        return DatabaseSettings.model_validate({"database_url": f"postgresql://{name}:x@{place}/plain"})

    try:
        with pytest.raises(Unavailable, match="permission denied to set role"):
            async with db.connect(as_login("plain_login"), "test", role=Role.WORKER, patience_s=0):
                pass
        await asyncio.to_thread(upgrade, as_login("plain_owner"))
        for login in ("plain_owner", "plain_login"):
            async with db.connect(as_login(login), "test", role=Role.GATEWAY, patience_s=5) as served:
                await accept(served, [NewJob(login, "key", "ocr", "ocr.recognise", b"{}")], ticketed=[False])
                assert [row[0] for row in await served.fetch(EVERYTHING, tenant=login)] == [login]
                enter = "INSERT INTO identity.tenants (id) VALUES ($1)"
                await served.fetch(enter, login, tenant=login)
                await served.fetch(
                    "INSERT INTO identity.limits (tenant, policy, figure) VALUES ($1, 'api', 'off')",
                    login,
                    tenant=login,
                )  # its foreign key is seen to by the owner, whom the policies hold too
    finally:
        await database.fetch("DROP DATABASE plain WITH (FORCE)")
        await database.fetch("DROP ROLE plain_login")
        await database.fetch("DROP ROLE plain_owner")


async def test_a_database_that_has_not_been_migrated_is_waited_for(database_settings: DatabaseSettings) -> None:
    with pytest.raises(Unavailable, match="has the database been migrated"):
        async with db.connect(database_settings, "test", role=Role("argosy_unheard_of"), patience_s=0):
            pass
