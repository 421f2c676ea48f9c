"""A mailer, and a relay that it hands its mail to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from libs.common.db import Database
from tests.mailing import Mailer, mailing
from tests.relay import Relay


@pytest.fixture
def database(mail_database: Database) -> Database:
    """As the mailer has it."""
    return mail_database


@pytest.fixture
async def mailer(
    database: Database, gateway_database: Database, nats_bus: Bus, servers: Trio, tmp_path: Path, relay: Relay
) -> AsyncIterator[Mailer]:
    async with mailing(database, gateway_database, nats_bus, servers, tmp_path / "blobs", relay) as made:
        yield made
