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

from deploy.local import servers
from deploy.local.running import Trio, free_port, running
from deploy.local.servers import Server, password_of
from deploy.permissions import ROLES, SERVICES, login_of, nats_users, postgres_logins
from libs.common import bus
from libs.common.bus import CONSUMER, inbox_of, stream_of
from libs.common.config import BusSettings
from libs.common.contracts import QUEUES
from libs.common.ledger.jobs import new_id

TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
"""
SCHEMAS = {"gateway": {"ledger", "identity"}, "ocr": {"ledger", "ocr"}, "mailer": {"ledger", "mail"}}
OF_A_WORKER = ("tickets.{}", "events.{}")
FOR_A_WORKER = ("cancel.{}", "query.{}.recipients")
OF_GATEWAYS = ("identity.changed", "limits.admitted")
PASSWORD = "of the server"  # noqa: S105


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("permissions")
    server = servers.nats(folder, free_port(), PASSWORD)
    with running(server, folder):
        yield server


@asynccontextmanager
async def on_the_bus(server: Server, service: str) -> AsyncIterator[tuple[Client, list[str]]]:
    """As the server knows that service; and what it was denied."""
    denied: list[str] = []

    async def on_error(error: Exception) -> None:
        denied.append(str(error))

    address = server.url.rpartition("@")[2]
    connection = Client()
    password = password_of(service, PASSWORD)
    await connection.connect(
        f"nats://{service}:{password}@{address}", inbox_prefix=inbox_of(service), error_cb=on_error
    )
    try:
        yield connection, denied
    finally:
        await connection.close()


async def may(connection: Client, denied: list[str], *, say: str = "", hear: str = "") -> bool:
    """Whether the server lets this connection publish to or subscribe to a subject."""
    denied.clear()
    if say:
        await connection.publish(say, b"")
    else:
        await connection.subscribe(hear)
    for _ in range(2):  # the ping of a flush overtakes what is still to be sent
        await connection.flush()
    return not any("permissions violation" in error.lower() for error in denied)


@pytest.mark.parametrize("service", SERVICES)
async def test_s26_on_the_bus_nobody_speaks_or_listens_for_another(nats_server: Server, service: str) -> None:
    expected_says, expected_hears = set[str](), set[str]()
    says = {pattern.format(queue) for pattern, queue in product((*OF_A_WORKER, *FOR_A_WORKER), QUEUES)}
    says |= {f"{inbox_of(name)}.x" for name in SERVICES}
    hears = says | set(OF_GATEWAYS) | {"$JS.API.>", ">", "_INBOX.>"}
    says |= set(OF_GATEWAYS) | {"$JS.API.STREAM.DELETE.TICKETS_ocr", "$JS.API.INFO"}
    for queue in QUEUES:
        laying = {f"$JS.API.STREAM.{what}.TICKETS_{queue}" for what in ("CREATE", "INFO")}
        laying.add(f"$JS.API.CONSUMER.DURABLE.CREATE.TICKETS_{queue}.workers")
        says |= laying | {f"$JS.API.CONSUMER.MSG.NEXT.TICKETS_{queue}.workers"}
        if service == "gateway":
            expected_says |= {f"tickets.{queue}", f"cancel.{queue}", f"query.{queue}.recipients"}
            expected_says |= laying
            expected_hears.add(f"events.{queue}")
        elif service == queue:
            expected_says |= {f"tickets.{queue}", f"events.{queue}"}
            expected_says.add(f"$JS.API.CONSUMER.MSG.NEXT.TICKETS_{queue}.workers")
            expected_hears |= {f"cancel.{queue}", f"query.{queue}.recipients"}
    if service == "gateway":
        expected_says |= set(OF_GATEWAYS)
        expected_hears |= set(OF_GATEWAYS)
    expected_hears.add(f"{inbox_of(service)}.x")
    expected_says.add(f"{inbox_of(service)}.x")
    async with on_the_bus(nats_server, service) as (connection, denied):
        assert {subject for subject in says if await may(connection, denied, say=subject)} == expected_says
        assert {subject for subject in hears if await may(connection, denied, hear=subject)} == expected_hears


async def test_s26_what_is_taken_from_a_stream_cannot_be_had_delivered_to_others(nats_server: Server) -> None:
    """NATS lets whoever pulls name any subject for the answer. Nobody of ours listens to what comes that way."""
    heard: list[bytes] = []
    settings = BusSettings.model_validate({"nats_url": nats_server.url})
    async with (
        bus.connect(settings, "test") as fleet,
        on_the_bus(nats_server, "ocr") as (hostile, _),
        fleet.listening("cancel.mailer", heard.append),
        fleet.tickets("ocr") as tickets,
    ):
        await fleet.lay_conveyor("ocr")
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{stream_of('ocr')}.{CONSUMER}"
        await hostile.publish(pull, b'{"batch":8,"expires":1000000000}', reply="cancel.mailer")
        for _ in range(8):
            await hostile.publish("tickets.ocr", b"forged")
        job = new_id()
        while await tickets.take(1, wait_s=0.2) != [job]:
            await fleet.print_tickets("ocr", [job])
        await fleet.publish("cancel.mailer", b"real")
        while not heard:
            await asyncio.sleep(0.01)
    assert heard == [b"real"]


async def test_s26_another_services_password_opens_nothing(nats_server: Server) -> None:
    address = nats_server.url.rpartition("@")[2]
    for user, password in (("ocr", password_of("mailer", PASSWORD)), ("ocr", PASSWORD), ("argosy", "guess")):
        connection = Client()
        with pytest.raises(nats.errors.Error):
            await connection.connect(f"nats://{user}:{password}@{address}", allow_reconnect=False)
        await connection.close()
    assert PASSWORD not in nats_users(lambda service: password_of(service, PASSWORD))


@pytest.mark.parametrize("service", SERVICES)
async def test_s26_in_the_database_nobody_reaches_anothers_tables(
    servers: Trio, database_url: str, service: str
) -> None:
    owner = await asyncpg.connect(database_url)
    login = login_of(service)
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
        assert set(ROLES[service]) <= set(possible)
        assert reached <= {table for table in tables if table.partition(".")[0] in SCHEMAS[service]}
        assert {table.partition(".")[0] for table in reached} == SCHEMAS[service]
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
