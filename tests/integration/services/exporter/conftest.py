"""An exporter whose jobs run when a test says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.bus import Bus
from libs.common.db import Database
from tests.exporting import Exporter, exporting


@pytest.fixture
async def exporter(
    export_database: Database, gateway_database: Database, nats_bus: Bus, tmp_path: Path
) -> AsyncIterator[Exporter]:
    async with exporting(export_database, gateway_database, nats_bus, tmp_path / "blobs") as made:
        yield made
