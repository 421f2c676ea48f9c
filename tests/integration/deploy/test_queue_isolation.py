"""S26: a worker's login is worth that worker. With each login, everything is tried that is another's."""

# ruff: noqa: S608 - statements are made of names from the catalog

from collections.abc import AsyncIterator
from itertools import product

import asyncpg
import pytest

from deploy.migrations.provisioning import ENQUEUER, QUEUE_COLUMNS
from libs.common.contracts.services import QUEUES, SERVICES, Role, ServiceRow, login_of
from tests.integration.deploy.logins import (
    CANARY,
    INSERTS,
    TENANTS,
    WORKERS,
    fill,
    guises,
    readable,
    tables_of,
    taken_over,
    tried,
)

EACH_WORKER = pytest.mark.parametrize("service", WORKERS, ids=lambda service: service.name)
COLUMNS = """
SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""
WHAT_A_JOB_IS = {
    "id", "tenant", "created_by", "queue", "kind", "priority", "payload", "tags", "trace", "max_attempts",
    "timeout_s", "created_at", "parent", "schedule", "replay", "idempotency_key", "request_sha256", "unique_key",
    "cancel_requested_at", "retried",
}  # fmt: skip
MEMBERSHIPS = "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = $1::text::regrole"
CALLABLE = """
SELECT proname FROM pg_proc WHERE pronamespace <> 'pg_catalog'::regnamespace
  AND pronamespace <> 'information_schema'::regnamespace AND pronamespace <> $2::text::regnamespace
  AND has_function_privilege($1::text, oid, 'EXECUTE')
"""
OPEN = """
SELECT DISTINCT format('%I.%I', schemaname, tablename) FROM pg_policies
WHERE schemaname = $1 AND $2 = ANY(roles) AND cmd = 'ALL' AND qual = 'true' AND with_check = 'true'
  AND has_table_privilege($2, format('%I.%I', schemaname, tablename), $3)
"""
NAMED = "SELECT DISTINCT unnest(roles)::text FROM pg_policies WHERE schemaname = $1"
REFUSED = [
    "SET SESSION AUTHORIZATION argosy",
    "SET row_security = off; SELECT FROM ledger.jobs",
    "SET session_replication_role = replica",
    "ALTER ROLE {login} SUPERUSER",
    "ALTER ROLE {login} BYPASSRLS",
    "GRANT argosy_worker TO {login}",
    "GRANT {role} TO argosy_gateway",
    "GRANT pg_read_all_data TO {login}",
    "CREATE ROLE another",
    "CREATE SCHEMA another",
    "CREATE TABLE public.jobs ()",
    "CREATE TABLE ledger.another ()",
    "CREATE TABLE {schema}.another ()",
    "CREATE FUNCTION ledger.uuid_eq(uuid, uuid) RETURNS bool LANGUAGE sql RETURN true",
    "CREATE FUNCTION public.uuid_eq(uuid, uuid) RETURNS bool LANGUAGE sql RETURN true",
    "ALTER TABLE ledger.jobs DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE ledger.jobs OWNER TO {role}",
    "CREATE POLICY another ON ledger.jobs USING (true)",
    "DROP POLICY of_{role} ON ledger.jobs",
    "CREATE INDEX ON ledger.jobs (tenant)",
    "CREATE RULE another AS ON DELETE TO ledger.jobs DO INSTEAD NOTHING",
    "CREATE TRIGGER another BEFORE UPDATE ON ledger.jobs EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "SELECT 1; LOCK TABLE ledger.jobs IN SHARE ROW EXCLUSIVE MODE",
    "SELECT 1; LOCK TABLE ledger.queues IN SHARE ROW EXCLUSIVE MODE",
    "SELECT 1; LOCK TABLE ledger.entries IN SHARE ROW EXCLUSIVE MODE",
    "COPY ledger.jobs TO PROGRAM 'cat'",
    "COPY (SELECT 1) TO '/tmp/another'",
    "COPY ledger.trash FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_stat_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/another')",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_statistic",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT pg_reload_conf()",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "CREATE PUBLICATION another FOR TABLE ledger.jobs",
    "CREATE EVENT TRIGGER another ON ddl_command_start EXECUTE FUNCTION suppress_redundant_updates_trigger()",
]
"""Statements that nobody may execute who has the login of a worker."""


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Who may do everything in a ledger that has rows of all queues."""
    connection = await asyncpg.connect(database_url)
    await fill(connection)
    yield connection
    await connection.close()


@EACH_WORKER
async def test_s26_a_login_works_as_its_own_roles_and_they_are_members_of_nothing(
    owner: asyncpg.Connection, database_url: str, service: ServiceRow
) -> None:
    roles = [row[0] for row in await owner.fetch("SELECT rolname FROM pg_roles")]
    async with taken_over(owner, database_url, service) as (login,):
        possible = {role for role in roles if await tried(login, role, "SELECT 1")}
        assert possible == set(service.role.names)
    for role in service.role.names:
        assert not await owner.fetch(MEMBERSHIPS, role)


@EACH_WORKER
async def test_s26_rows_of_another_queue_cannot_be_read_changed_or_deleted(
    owner: asyncpg.Connection, database_url: str, service: ServiceRow
) -> None:
    reached: dict[tuple[str, str], set[str]] = {}
    tables = [table for table in await tables_of(owner) if table.startswith("ledger.")]
    assert set(QUEUE_COLUMNS) < {table.removeprefix("ledger.") for table in tables}
    async with taken_over(owner, database_url, service) as (login,):
        for table, (role, tenant) in product(tables, guises(service)):
            queue = QUEUE_COLUMNS.get(table.removeprefix("ledger."), "'of nobody'")
            statements = {
                "SELECT": f"SELECT {queue} FROM {table}",
                "DELETE": f"DELETE FROM {table} RETURNING {queue}",
            }
            for (column,) in await owner.fetch(COLUMNS, table):
                statements[f"SELECT {column}"] = f"SELECT {queue} FROM {table} WHERE {column} IS NOT NULL"
                statements[f"UPDATE {column}"] = f"UPDATE {table} SET {column} = {column} RETURNING {queue}"
            for what, statement in statements.items():
                if role == service.role.of_a_tenant and table in readable(service) and what.startswith("SELECT"):
                    continue  # what is published is of all queues, and of one tenant: see the test of a tenant
                for row in await tried(login, role, statement, tenant=tenant) or ():
                    reached.setdefault((table, what), set()).add(row[0])
    assert {queue for queues in reached.values() for queue in queues} == {service.name}
    changed = {(table, what.split()[1]) for table, what in reached if what.startswith("UPDATE")}
    assert {("ledger.jobs", "state"), ("ledger.workers", "heartbeat_at")} < changed
    assert {column for table, column in changed if table == "ledger.jobs"}.isdisjoint(WHAT_A_JOB_IS)
    assert {table for table, what in reached if what == "DELETE"} == {"ledger.workers"}
    assert {table for table, _ in reached} == {"ledger.jobs", "ledger.workers", "ledger.queues"}


@EACH_WORKER
async def test_s26_what_cannot_be_seen_was_not_changed_either(
    owner: asyncpg.Connection, database_url: str, service: ServiceRow
) -> None:
    """Statements without RETURNING and WHERE, whose effect shows only afterwards."""
    others = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM ledger.{} t WHERE {} <> $1"
    before = [await owner.fetchval(others.format(*place), service.name) for place in QUEUE_COLUMNS.items()]
    statements = (
        "UPDATE ledger.jobs SET state = 'cancelled', worker = NULL, finished_at = now()",
        "UPDATE ledger.workers SET heartbeat_at = '-infinity'",
        "UPDATE ledger.queues SET worker_seen_at = NULL",
        "DELETE FROM ledger.workers",
    )
    async with taken_over(owner, database_url, service) as (login,):
        await login.execute(f"SET ROLE {service.role.name}")
        done = [await login.execute(statement) for statement in statements]
    assert done == ["UPDATE 2", "UPDATE 1", "UPDATE 1", "DELETE 1"]
    after = [await owner.fetchval(others.format(*place), service.name) for place in QUEUE_COLUMNS.items()]
    assert after == before


@EACH_WORKER
async def test_s26_rows_of_another_queue_cannot_be_made(
    owner: asyncpg.Connection, database_url: str, service: ServiceRow
) -> None:
    made = set[tuple[str, str]]()
    async with taken_over(owner, database_url, service) as (login,):
        for (role, tenant), (table, statement), queue in product(guises(service), INSERTS.items(), QUEUES):
            if await tried(login, role, statement, queue, tenant=tenant) is not None:
                made.add((table, queue))
        for column, value in (("idempotency_key", "'k'"), ("unique_key", "'k'"), ("bytes", "-1")):
            keyed = INSERTS["jobs"].replace("due_at)", f"due_at, {column})").replace("now())", f"now(), {value})")
            assert await tried(owner, "argosy", keyed, service.name) == [], "it is right for others"
            assert await tried(login, service.role.name, keyed, service.name) is None
    assert made == {(table, service.name) for table in INSERTS}


@EACH_WORKER
async def test_s26_tables_and_sequences_of_others_are_shut(
    owner: asyncpg.Connection, database_url: str, service: ServiceRow
) -> None:
    tables = [table for table in await tables_of(owner) if not table.startswith((f"{service.schema}.", "ledger."))]
    sequences = [name for name in await tables_of(owner, b"S") if not name.startswith(f"{service.schema}.")]
    async with taken_over(owner, database_url, service) as (login,):
        for role, tenant in guises(service):
            is_tenants = role == service.role.of_a_tenant
            for table in tables:
                published = readable(service).get(table, frozenset()) if is_tenants else frozenset()
                columns = [row[0] for row in await owner.fetch(COLUMNS, table)]
                assert published <= {*columns}
                (column, *_) = (name for name in columns if name not in published)
                for statement in (
                    *(f"SELECT {name} FROM {table}" for name in columns if name not in published),
                    f"SELECT FROM {table} FOR UPDATE",
                    f"UPDATE {table} SET {column} = {column}",
                    f"DELETE FROM {table}",
                    f"INSERT INTO {table} DEFAULT VALUES",
                ):
                    assert await tried(login, role, statement, tenant=tenant) is None, statement
            for sequence in sequences:
                for statement in (f"SELECT nextval('{sequence}')", f"SELECT setval('{sequence}', 1)"):
                    assert await tried(login, role, statement, tenant=tenant) is None, statement
            for table in await tables_of(owner):
                assert await tried(login, role, f"TRUNCATE {table} CASCADE", tenant=tenant) is None


@EACH_WORKER
async def test_s26_nothing_leads_around(owner: asyncpg.Connection, database_url: str, service: ServiceRow) -> None:
    async with taken_over(owner, database_url, service) as (login,):
        place = {"login": login_of(service.name), "schema": service.schema}
        for role, statement in product((login_of(service.name), *service.role.names), REFUSED):
            await login.execute(f"SET ROLE {role}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await login.execute(statement.format(role=role, **place))
            await login.execute("RESET ALL")


@EACH_WORKER
async def test_s26_nothing_is_overheard(owner: asyncpg.Connection, database_url: str, service: ServiceRow) -> None:
    """What conditions see, what statistics say, what errors tell, and what another session is doing."""
    heard: list[str] = []
    other = next(worker for worker in WORKERS if worker is not service)
    await owner.execute("ANALYZE ledger.jobs")
    job = await owner.fetchval("SELECT id FROM ledger.jobs WHERE queue = $1", other.name)
    async with taken_over(owner, database_url, service, other) as (login, theirs):
        pid = theirs.get_server_pid()
        await theirs.fetch(f"SELECT 'said by {other.name}'")
        login.add_log_listener(lambda _, message: heard.append(message.message))
        await login.execute(
            "CREATE FUNCTION pg_temp.tell(text) RETURNS bool LANGUAGE plpgsql COST 0.000001 AS"
            " $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$"
        )
        await login.execute(f"GRANT ALL ON FUNCTION pg_temp.tell TO PUBLIC; SET ROLE {service.role.name}")
        await login.fetch("SELECT FROM ledger.jobs WHERE pg_temp.tell(payload ->> 'words')")
        assert set(heard) == {f"{CANARY} {service.name}"}
        assert not await login.fetch("SELECT FROM pg_stats WHERE schemaname = 'ledger' AND tablename = 'jobs'")
        (said,) = await login.fetchrow("SELECT query FROM pg_stat_activity WHERE pid = $1", pid)
        assert said == "<insufficient privilege>"
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await login.fetch(f"SELECT {function}($1)", pid)
        taken = INSERTS["jobs"].replace("gen_random_uuid()", "$2")
        with pytest.raises(asyncpg.UniqueViolationError) as error:
            await login.fetch(taken, service.name, job)
        assert error.value.detail is None
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.fetch(f"{taken} ON CONFLICT (id) DO UPDATE SET state = 'failed'", service.name, job)


@pytest.mark.parametrize("service", [w for w in WORKERS if w.role.of_a_tenant], ids=lambda service: service.name)
async def test_s26_on_behalf_of_a_tenant_exactly_what_is_declared_is_read(
    owner: asyncpg.Connection, database_url: str, service: ServiceRow
) -> None:
    assert set(service.may_read) <= {"ledger.jobs"}
    declared = set(service.may_read.get("ledger.jobs", ())) | readable(service).get("ledger.jobs", frozenset())
    columns = [row[0] for row in await owner.fetch(COLUMNS, "ledger.jobs")]
    role = service.role.of_a_tenant
    assert role is not None
    async with taken_over(owner, database_url, service) as (login,):
        read = {
            column
            for column in columns
            if await tried(login, role, f"SELECT {column} FROM ledger.jobs", tenant="a") is not None
        }
        assert read == declared
        for tenant in TENANTS if read else ():
            rows = await tried(login, role, "SELECT id FROM ledger.jobs", tenant=tenant)
            theirs = "SELECT id FROM ledger.jobs WHERE tenant = $1 AND (queue = $2 OR $3)"
            assert rows == await owner.fetch(theirs, tenant, service.name, service.reads_datasets)
        assert await tried(login, role, "SELECT FROM ledger.jobs WHERE id IS NOT NULL", tenant="") == (
            [] if read else None
        )


@EACH_WORKER
async def test_a_service_has_all_of_its_own_tables_and_nobody_else_any(
    owner: asyncpg.Connection, service: ServiceRow
) -> None:
    tables = {name for name in await tables_of(owner) if name.startswith(f"{service.schema}.")}
    assert tables
    for what in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        assert {row[0] for row in await owner.fetch(OPEN, service.schema, service.role.name, what)} == tables
    named = {row[0] for row in await owner.fetch(NAMED, service.schema)}
    readers = {
        row.role.of_a_tenant
        for row in SERVICES
        if any(table.startswith(f"{service.schema}.") for table in readable(row))
    }
    assert named == {"argosy", *service.role.names, *readers}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
async def test_s26_a_service_makes_jobs_of_another_queue_exactly_as_declared(
    owner: asyncpg.Connection, service: ServiceRow
) -> None:
    """All that crosses queues is a function: but for those of its own schema there is no other."""
    for role in service.role.names:
        found = {row[0] for row in await owner.fetch(CALLABLE, role, service.schema)}
        assert found == (service.may_enqueue if role == service.role.name else set())
    assert not await owner.fetch("SELECT FROM pg_auth_members WHERE member::regrole::text = $1", ENQUEUER)


async def test_a_login_for_all_workers_still_works_on_all_queues(
    owner: asyncpg.Connection, database_url: str
) -> None:
    place = database_url.rpartition("@")[2]
    roles = [Role.WORKER.name, *(name for worker in WORKERS for name in worker.role.names)]
    await owner.execute(f"CREATE ROLE of_all_workers LOGIN NOINHERIT PASSWORD 'x' IN ROLE {', '.join(roles)}")
    login = await asyncpg.connect(f"postgresql://of_all_workers:x@{place}")
    try:
        for worker in WORKERS:
            rows = await tried(login, worker.role.name, "SELECT DISTINCT queue FROM ledger.jobs")
            assert rows == [(worker.name,)]
        rows = await tried(login, Role.WORKER.name, "SELECT DISTINCT queue FROM ledger.jobs")
        assert {row[0] for row in rows or ()} == set(QUEUES)
        for statement, queue in product(INSERTS.values(), QUEUES):
            assert await tried(login, Role.WORKER.name, statement, queue) is not None
    finally:
        await login.close()
        await owner.execute("DROP ROLE of_all_workers")
