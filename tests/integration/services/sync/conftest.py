"""A sync worker whose jobs run when a test says so, and opportunities that need no source."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from libs.common.config import DatabaseSettings
from libs.common.db import Database
from tests.chaos.killed_syncer import Killed
from tests.searching import Library
from tests.syncing import Syncer, syncing


@pytest.fixture
def database(sync_database: Database) -> Database:
    """As the sync worker has it."""
    return sync_database


@pytest.fixture
async def syncer(
    database: Database, gateway_database: Database, nats_bus: Bus, tmp_path: Path
) -> AsyncIterator[Syncer]:
    async with syncing(database, gateway_database, nats_bus, tmp_path / "blobs") as made:
        yield made


@pytest.fixture
def library(database: Database) -> Library:
    return Library(database)


@pytest.fixture
def killed(syncer: Syncer, database_settings: DatabaseSettings, servers: Trio, tmp_path: Path) -> Killed:
    return Killed(syncer, database_settings, servers, tmp_path)
