"""The limiters of two gateways that share one Redis."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from services.gateway.limits.limiter import Limiter
from tests.integration.services.gateway.limits.charging import PATIENT_S


@pytest.fixture
async def redis(servers: Trio) -> AsyncIterator[Redis]:
    client = Redis.from_url(servers.redis.urls["gateway"])
    yield client
    await client.aclose()


@pytest.fixture
async def both(redis: Redis, nats_bus: Bus) -> list[Limiter]:
    """The limiters of two gateways."""
    made = [Limiter(redis, nats_bus, budget_s=PATIENT_S) for _ in range(2)]
    for limiter in made:
        await limiter._outages.check_in()
    return made


@pytest.fixture
def limiter(both: list[Limiter]) -> Limiter:
    """The limiter of one."""
    return both[0]
