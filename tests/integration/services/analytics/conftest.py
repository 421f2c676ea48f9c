"""An analytics worker whose jobs run when a test says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.bus import Bus
from libs.common.db import Database
from tests.analysing import Analyst, analysing


@pytest.fixture
def database(analytics_database: Database) -> Database:
    """As the analytics worker has it."""
    return analytics_database


@pytest.fixture
async def analyst(
    database: Database, gateway_database: Database, nats_bus: Bus, tmp_path: Path
) -> AsyncIterator[Analyst]:
    async with analysing(database, gateway_database, nats_bus, tmp_path / "blobs") as made:
        yield made
