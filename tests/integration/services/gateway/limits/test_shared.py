"""The counts in Redis: never more than the limit in any window, whatever the traffic and the gateways' clocks."""

import asyncio
import random

import pytest
from redis.asyncio import Redis

from deploy.local.test_servers import Trio
from services.gateway.limits.limiter import Limiter
from tests.integration.services.gateway.gateway import Gateway, upload
from tests.integration.services.gateway.limits.charging import PATIENT_S, charged
from tests.integration.services.gateway.limits.gateways import Gateways, most_in_a_window
from tests.polling import PATIENCE_S


async def test_limits_survive_a_redis_that_forgot_its_scripts(gateway: Gateway, servers: Trio) -> None:
    client = await gateway.client()
    async with Redis.from_url(servers.redis.url) as redis:
        await redis.script_flush()
    assert (await client.post("/v1/ocr", **upload())).status_code == 202


@pytest.mark.parametrize("seed", range(3))
async def test_never_more_than_the_limit_in_any_window(servers: Trio, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    limit, window_s = dice.randint(3, 40), dice.choice((1, 2))
    orders = {
        "redis": servers.redis.urls["gateway"],
        "nats": servers.nats.url,
        "user": f"exact-{seed}",
        "policies": [("api", limit, window_s), ("large", 2_000, 1)],
        "seed": seed,
        "seconds": 3 * window_s,
        "pause_s": 0.02,
        "budget_s": PATIENT_S,
    }
    gateways = Gateways(orders)
    await gateways.start()
    admissions, modes = await gateways.admitted()
    assert most_in_a_window(admissions, window_s * 1_000_000) <= limit
    assert len(admissions) >= 2 * limit, "the limit is used as well as kept"
    assert modes == {"shared"}


async def test_large_limits_are_counted_in_buckets_and_never_exceeded(limiter: Limiter) -> None:
    charges = charged(("large", 1500, 1))
    loop = asyncio.get_running_loop()
    admitted: list[tuple[float, float]] = []
    deadline = loop.time() + PATIENCE_S
    while len(admitted) < 2.5 * 1500:
        asked = loop.time()
        assert asked < deadline
        decisions = await asyncio.gather(*(limiter.take(charges) for _ in range(200)))
        answered = loop.time()
        admitted += [(asked, answered)] * sum(decision.admitted for decision in decisions)
        await asyncio.sleep(0.01)
    for begin, _ in set(admitted):
        assert sum(asked >= begin and answered < begin + 1 for asked, answered in admitted) <= 1500
