"""Real servers on free ports, started once; a fresh database for every test that asks for one."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from deploy.local import servers as embedded
from deploy.local.test_servers import Trio, free_port, trio
from deploy.migrations.__main__ import upgrade
from libs.common import bus, db
from libs.common.bus import Bus
from libs.common.config import BusSettings, DatabaseSettings
from libs.common.contracts.services import ANALYTICS, EXPORTER, GATEWAY, MAILER, SYNC
from libs.common.db import Database
from tests.polling import PATIENCE_S
from tests.relay import Relay, relaying
from tests.server_process import ServerProcess

LONG_AT_MOST_S = 1200
_numbers = itertools.count(1)
settings.register_profile("argosy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("unit", settings.get_profile("argosy"), max_examples=20)
"""Of `make unit`, whose answer is wanted at once; `make test` tries as many as Hypothesis does by default."""
settings.load_profile("argosy")  # no test depends on the speed of the machine


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    """What a test has begun has ended with it, or is about to."""
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=PATIENCE_S)
    assert not left


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """PostgreSQL, Redis and NATS."""
    with trio(tmp_path_factory.mktemp("servers"), "fsync=off", "max_connections=300") as started:
        yield started


@pytest.fixture(scope="session")
async def template(servers: Trio) -> str:
    """The name of a migrated database to copy."""
    await _admin(servers, "CREATE DATABASE template_argosy")
    # Alembic starts an event loop of its own, so it needs a thread of its own.
    settings = DatabaseSettings.model_validate({"database_url": _url(servers, "template_argosy")})
    await asyncio.to_thread(upgrade, settings)
    return "template_argosy"


@pytest.fixture
async def database_url(servers: Trio, template: str) -> AsyncIterator[str]:
    """A migrated, empty database of this test's own; and Redis has nothing of the tenants of other tests."""
    async with Redis.from_url(servers.redis.url) as redis:
        await redis.flushall()
    name = f"test_{next(_numbers)}"
    # Its files are copied, and no page goes through the WAL, nor through shared buffers to be thrown away.
    await _admin(servers, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield _url(servers, name)
    await _admin(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_settings(database_url: str) -> DatabaseSettings:
    """How to reach this test's database."""
    return DatabaseSettings.model_validate({"database_url": database_url})


@pytest.fixture
async def database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A pool on this test's database."""
    async with db.connect(database_settings, "test", role=None) as connected:
        yield connected


@pytest.fixture
async def mail_database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A pool on this test's database, as the mailer has it."""
    async with db.connect(database_settings, "mailer", role=MAILER.role) as connected:
        yield connected


@pytest.fixture
async def analytics_database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A pool on this test's database, as the analytics worker has it."""
    async with db.connect(database_settings, "analytics", role=ANALYTICS.role) as connected:
        yield connected


@pytest.fixture
async def sync_database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A pool on this test's database, as the sync worker has it."""
    async with db.connect(database_settings, "sync", role=SYNC.role) as connected:
        yield connected


@pytest.fixture
async def export_database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A pool on this test's database, as the exporter has it."""
    async with db.connect(database_settings, "exporter", role=EXPORTER.role) as connected:
        yield connected


@pytest.fixture
async def gateway_database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A pool on this test's database, as a gateway has it."""
    async with db.connect(database_settings, "gateway", role=GATEWAY.role) as connected:
        yield connected


@pytest.fixture
async def nats_bus(servers: Trio) -> AsyncIterator[Bus]:
    """A connection to NATS."""
    async with bus.connect(BusSettings.model_validate({"nats_url": servers.nats.url}), "test") as connected:
        yield connected


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A Redis that a test may kill."""
    server = ServerProcess(embedded.redis(tmp_path / "redis", free_port(), embedded.new_password()), tmp_path)
    server.start()
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A server that takes mail."""
    async with relaying(Relay()) as serving:
        yield serving


@pytest.fixture
def queue() -> str:
    """A queue no other test uses."""
    return f"queue_{next(_numbers)}"


@pytest.fixture(scope="session")
def scans() -> Path:
    """Real scans with known text, where this checkout has them beside it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "scans"
    if not folder.is_dir():
        pytest.skip("no ../shared/data/scans beside this checkout")
    return folder


def _url(servers: Trio, name: str) -> str:
    return servers.postgres.url.rpartition("/")[0] + "/" + name


async def _admin(servers: Trio, statement: str) -> None:
    connection = await asyncpg.connect(servers.postgres.url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that none of them is begun at the end; and with more time."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    for item in items:
        if item.get_closest_marker("long") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_AT_MOST_S))
