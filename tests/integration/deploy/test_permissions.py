"""S26: what one service is trusted with is no use against another. Each tries all that is not its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path

import asyncpg
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.local import servers
from deploy.local.servers import Server, password_of
from deploy.local.test_servers import Trio, free_port, running
from deploy.migrations.__main__ import upgrade
from deploy.permissions import postgres_logins
from libs.common import bus, db
from libs.common.bus import CONSUMER, inbox_of, stream_of
from libs.common.config import BusSettings, DatabaseSettings
from libs.common.contracts.services import QUEUES, SERVICES, Role, ServiceRow, login_of
from libs.common.ledger.jobs import new_id
from tests.integration.deploy.logins import readable
from tests.polling import until

TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
"""
OLD_ROLES = ("argosy_gateway", "argosy_worker", "argosy_tenant")
OF_GATEWAYS = ("identity.changed", "limits.admitted")
SUBJECTS = [
    *OF_GATEWAYS,
    *(f"{what}.{queue}" for what in ("tickets", "events", "cancel", "query") for queue in QUEUES),
    *(f"query.{queue}.recipients" for queue in QUEUES),
    *(f"{inbox_of(service.name)}.x" for service in SERVICES),
]
STREAMS = [f"$JS.API.STREAM.{what}.{stream_of(queue)}" for what in ("DELETE", "PURGE") for queue in QUEUES]
PASSWORD = "of the server"  # noqa: S105


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Server]:
    server = servers.nats(tmp_path, free_port(), PASSWORD)
    with running(server, tmp_path):
        yield server


@asynccontextmanager
async def on_the_bus(server: Server, user: str) -> AsyncIterator[tuple[Client, list[str]]]:
    """As the server knows that user; and what it was denied."""
    denied: list[str] = []

    async def on_error(error: Exception) -> None:
        denied.append(str(error))

    password = PASSWORD if user == "argosy" else password_of(user, PASSWORD)
    address = server.url.rpartition("@")[2]
    connection = Client()
    await connection.connect(f"nats://{user}:{password}@{address}", inbox_prefix=inbox_of(user), error_cb=on_error)
    try:
        yield connection, denied
    finally:
        await connection.close()


async def hear(connection: Client, subject: str) -> list[str]:
    """The subjects of what comes from now on."""
    heard: list[str] = []

    async def note(message: Msg) -> None:
        heard.append(message.subject)

    await connection.subscribe(subject, cb=note)
    await settled(connection)
    return heard


async def settled(connection: Client) -> None:
    """The server has taken all that was sent: the ping of one flush overtakes it."""
    for _ in range(2):
        await connection.flush()


async def say_everything(speaker: Client, last: str) -> None:
    """Publish to all subjects, and to the last of them once more."""
    for subject in [*SUBJECTS, *STREAMS, last]:
        await speaker.publish(subject, b"")


async def all_of(heard: list[str], last: str) -> set[str]:
    """What was heard of everything; the last is there twice."""

    async def all_there() -> bool:
        return heard.count(last) == 2

    await until(all_there)
    return set(heard)


@pytest.mark.parametrize("queue", QUEUES)
async def test_s26_a_worker_speaks_and_listens_for_its_own_queue_only(nats_server: Server, queue: str) -> None:
    settings = BusSettings.model_validate({"nats_url": nats_server.url})
    async with (
        on_the_bus(nats_server, "argosy") as (fleet, _),
        on_the_bus(nats_server, queue) as (worker, _),
        bus.connect(settings, "test") as laying,
        laying.listening("nothing", lambda _: None),
    ):
        for name in QUEUES:
            await laying.create_stream(name)
        by_the_fleet, by_the_worker = await hear(fleet, ">"), await hear(worker, ">")
        await say_everything(worker, f"events.{queue}")
        said = await all_of(by_the_fleet, f"events.{queue}")
        assert said & {*SUBJECTS, *STREAMS} == {f"tickets.{queue}", f"events.{queue}"}
        await all_of(by_the_worker, f"events.{queue}")  # its own words, in its own account
        by_the_worker.clear()
        await say_everything(fleet, f"cancel.{queue}")
        told = await all_of(by_the_worker, f"cancel.{queue}")
        assert told == {f"cancel.{queue}", f"query.{queue}.recipients"}


@pytest.mark.parametrize("reply", ["cancel.mailer", "tickets.mailer", "$JS.API.STREAM.DELETE.TICKETS_mailer"])
async def test_s26_what_a_worker_takes_cannot_be_had_delivered_to_others(nats_server: Server, reply: str) -> None:
    """NATS lets whoever pulls name any subject for the answer: one of its own account."""
    settings = BusSettings.model_validate({"nats_url": nats_server.url})
    async with (
        on_the_bus(nats_server, "argosy") as (fleet, _),
        on_the_bus(nats_server, "ocr") as (hostile, _),
        bus.connect(settings, "test") as laying,
        laying.tickets("mailer") as tickets,
    ):
        for name in QUEUES:
            await laying.create_stream(name)
        job = new_id()
        await laying.publish_tickets("mailer", [job])

        async def printed() -> bool:
            return (await laying.stream_state("mailer")).depth == 1

        await until(printed)
        heard, delivered = await hear(fleet, reply), await hear(hostile, reply)
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{stream_of('ocr')}.{CONSUMER}"
        await hostile.publish("tickets.ocr", b"forged")
        await hostile.publish(pull, b'{"batch":2,"expires":200000000}', reply=reply)

        async def over() -> bool:
            return len(delivered) >= 2  # the ticket, and that the time is over

        await until(over)
        await settled(fleet)
        assert heard == []
        assert (await laying.stream_state("mailer")).depth == 1
        assert await tickets.take(1, wait_s=10) == [job]


async def test_s26_a_gateway_takes_no_tickets_and_is_no_worker(nats_server: Server) -> None:
    denied_to_say = [f"events.{queue}" for queue in QUEUES] + STREAMS
    denied_to_say += [f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(queue)}.{CONSUMER}" for queue in QUEUES]
    denied_to_hear = [">", "tickets.*", "cancel.*", "query.>", f"{inbox_of('ocr')}.>"]
    async with on_the_bus(nats_server, "gateway") as (gateway, denied):
        for subject in denied_to_say:
            await gateway.publish(subject, b"")
        for subject in denied_to_hear:
            await gateway.subscribe(subject)
        await settled(gateway)
        assert len(denied) == len(denied_to_say) + len(denied_to_hear)


async def test_s26_another_services_password_opens_nothing(nats_server: Server) -> None:
    address = nats_server.url.rpartition("@")[2]
    for user, password in (("ocr", password_of("mailer", PASSWORD)), ("ocr", PASSWORD), ("argosy", "guess")):
        connection = Client()
        with pytest.raises(nats.errors.Error):
            await connection.connect(f"nats://{user}:{password}@{address}", allow_reconnect=False)
        await connection.close()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
async def test_s26_in_the_database_nobody_reaches_anothers_tables(
    servers: Trio, database_url: str, service: ServiceRow
) -> None:
    owner = await asyncpg.connect(database_url)
    login, schemas = login_of(service.name), {"ledger", service.schema}
    published = {*readable(service)} - {"ledger.jobs"}
    await owner.execute(postgres_logins(lambda _service: "'x'")[login])
    place = database_url.rpartition("@")[2]
    serving = await asyncpg.connect(f"postgresql://{login}:x@{place}")
    try:
        tables = [row[0] for row in await owner.fetch(TABLES)]
        reached = set[str]()
        roles = [row[0] for row in await owner.fetch("SELECT rolname FROM pg_roles")]
        possible = [role for role in roles if await allowed(serving, f'SET ROLE "{role}"')]
        for role, table in product([login, *possible], tables):
            await serving.execute(f'SET ROLE "{role}"')
            if await allowed(serving, f"SELECT FROM {table} LIMIT 1"):
                reached.add(table)
            if await allowed(serving, f"DELETE FROM {table} WHERE false"):  # noqa: S608
                reached.add(table)
            await serving.execute("RESET ROLE")
        assert set(service.role.names) <= set(possible)
        assert reached >= published
        assert reached - published <= {table for table in tables if table.partition(".")[0] in schemas}
        assert {table.partition(".")[0] for table in reached - published} == schemas
    finally:
        await serving.close()
        await owner.execute(f"DROP ROLE {login}")
        await owner.close()


async def allowed(connection: asyncpg.Connection, statement: str) -> bool:
    """Whether the server lets this connection do that."""
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True


async def test_the_roles_reach_all_owners_of_databases_on_a_server_and_whoever_ran_the_workers(
    tmp_path: Path,
) -> None:
    """Two owners who are no superusers, one of whom makes the roles; a login that is a worker through a group."""
    server = servers.postgres(tmp_path / "postgres", free_port(), servers.new_password())
    place = server.url.rpartition("@")[2].rpartition("/")[0]

    def of(login: str, owner: str) -> DatabaseSettings:
        return DatabaseSettings.model_validate({"database_url": f"postgresql://{login}:x@{place}/{owner}"})

    with running(server, tmp_path):
        async with db.connect(
            DatabaseSettings.model_validate({"database_url": server.url}), "test", role=None
        ) as superuser:
            for role in OLD_ROLES:
                await superuser.fetch(f"CREATE ROLE {role} NOLOGIN")
            for owner in ("one", "two"):
                await superuser.fetch(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'x'")
                await superuser.fetch(f"GRANT {', '.join(OLD_ROLES)} TO {owner} WITH ADMIN OPTION")
                await superuser.fetch(f"CREATE DATABASE {owner} OWNER {owner}")
            await superuser.fetch(f"CREATE ROLE a_group IN ROLE {', '.join(OLD_ROLES)}")
            await superuser.fetch("CREATE ROLE through_a_group LOGIN PASSWORD 'x' IN ROLE a_group")
        for owner in ("one", "two"):
            await asyncio.to_thread(upgrade, of(owner, owner))
        for login, owner in (("one", "one"), ("two", "two"), ("through_a_group", "one")):
            for as_role in (Role.WORKER, *(service.role for service in SERVICES)):
                async with db.connect(of(login, owner), "test", role=as_role, patience_s=0) as database:
                    if as_role.of_a_tenant is not None:
                        found = await database.fetch("SELECT current_user::text", tenant="dev")
                        assert [row[0] for row in found] == [as_role.of_a_tenant]
