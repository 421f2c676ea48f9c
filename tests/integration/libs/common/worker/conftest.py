"""What the tests of the worker runtime share."""

from collections.abc import AsyncIterator

import pytest

from libs.common import background
from libs.common.bus import Bus
from libs.common.db import Database
from tests.integration.libs.common.worker.working_fleet import Fleet


@pytest.fixture
async def fleet(database: Database, nats_bus: Bus, queue: str) -> AsyncIterator[Fleet]:
    """A dispatcher at work on a queue of this test."""
    started = Fleet(database, nats_bus, queue)
    async with background.alongside(background.optional(started.dispatcher.run())):
        yield started
