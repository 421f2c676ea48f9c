"""Never more than the limit in any window: random traffic on four gateways whose clocks are a second apart."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from libs.common.errors import Unavailable
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.policies import Charge, Charges, Per, Policy
from tests.integration.services.gateway.limits.gateways import Gateways, most_in_a_window
from tests.polling import PATIENCE_S, until

PATIENT_S = 2.0
"""A budget that no busy machine exceeds: these tests are about Redis's decisions."""

_users = count()


@pytest.mark.parametrize("seed", range(3))
async def test_never_more_than_the_limit_in_any_window(servers: Trio, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    limit, window_s = dice.randint(3, 40), dice.choice((1, 2))
    orders = {
        "redis": servers.redis.url,
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


@pytest.fixture
async def redis(servers: Trio) -> AsyncIterator[Redis]:
    client = Redis.from_url(servers.redis.url)
    yield client
    await client.aclose()


@pytest.fixture
async def both(redis: Redis, nats_bus: Bus) -> list[Limiter]:
    """The limiters of two gateways."""
    made = [Limiter(redis, nats_bus, budget_s=PATIENT_S) for _ in range(2)]
    for limiter in made:
        await limiter._outages.check_in()
    return made


async def test_after_a_stop_nobody_asks_redis_any_more(servers: Trio, nats_bus: Bus) -> None:
    """A request that ends late must not open what has been closed."""
    client, user = Redis.from_url(servers.redis.url), f"user-{next(_users)}"
    limiter = Limiter(client, nats_bus, budget_s=PATIENT_S)
    charges = Charges([Charge.of(Policy("uploads", Per.USER, 2, 60, at_once=True), user)])
    async with limiter.running():
        decision = await limiter.take(charges)
    await client.aclose()
    limiter.give_back(decision)
    with pytest.raises(Unavailable):
        await limiter.take(charges)
    await limiter._giving_back.drain()
    assert decision.slots
    assert not any(connection.is_connected for connection in client.connection_pool._available_connections)


@pytest.fixture
def limiter(both: list[Limiter]) -> Limiter:
    """The limiter of one."""
    return both[0]


def charged(*figures: tuple[str, int, int], shadow: str = "") -> Charges:
    user = f"user-{next(_users)}"
    policies = [
        Policy(name, Per.USER, limit, window_s, shadow=name == shadow) for name, limit, window_s in figures
    ]
    return Charges(Charge.of(policy, user) for policy in policies)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    bursts=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 15)), min_size=1, max_size=5),
)
async def test_all_or_nothing(both: list[Limiter], limits: list[int], bursts: list[tuple[int, int]]) -> None:
    """Whatever the limits and the bursts: each policy is charged with what was admitted, and nothing else."""
    charges = charged(*((f"p{number}", limit, 60) for number, limit in enumerate(limits)))
    admitted = 0
    for who, many in bursts:
        decisions = await asyncio.gather(*(both[who].take(charges) for _ in range(many)))
        admitted += sum(decision.admitted for decision in decisions)
        for decision in decisions:
            assert decision.admitted or decision.violated
    assert admitted == min(min(limits), sum(many for _, many in bursts))
    statuses = await both[0].status(charges)
    assert [status.remaining for status in statuses] == [limit - admitted for limit in limits]


async def test_what_redis_knows_is_not_asked_again(limiter: Limiter, redis: Redis) -> None:
    """A key over its limit is refused without Redis, until its time comes; another limit of its own ends that."""
    ((policy, key),) = charges = charged(("api", 1, 5))
    assert (await limiter.take(charges)).admitted
    assert not (await limiter.take(charges)).admitted
    calls = await evalsha_calls(redis)
    decisions = [await limiter.take(charges) for _ in range(20)]
    assert not any(decision.admitted for decision in decisions)
    assert await evalsha_calls(redis) == calls
    after_s = decisions[0].headers["Retry-After"]
    assert after_s in {"1", "2", "3", "4", "5"}
    assert decisions[0].headers == {
        "RateLimit-Policy": '"api";q=1;w=5', "RateLimit": f'"api";r=0;t={after_s}', "Retry-After": after_s,
    }  # fmt: skip
    more = Policy(policy.name, policy.per, 2, 5)
    assert (await limiter.take(Charges([Charge(more, key)]))).admitted

    async def is_admitted() -> bool:
        return (await limiter.take(charges)).admitted

    await until(is_admitted)


async def evalsha_calls(redis: Redis) -> int:
    return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


async def test_headers_are_true(limiter: Limiter) -> None:
    """Whoever keeps to r and t is never refused."""
    charges = charged(("api", 5, 2), ("burst", 2, 1))
    loop = asyncio.get_running_loop()
    until = loop.time() + 5
    served = 0
    while loop.time() < until:
        decision = await limiter.take(charges)
        assert decision.admitted
        served += 1
        waits = [status.free_s for status in decision.statuses if not status.remaining]
        await asyncio.sleep(max(waits, default=0))
    assert served >= 5


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


async def test_a_shadow_refuses_nobody(limiter: Limiter) -> None:
    charges = charged(("api", 50, 60), ("search", 3, 60), shadow="search")
    decisions = [await limiter.take(charges) for _ in range(10)]
    assert all(decision.admitted for decision in decisions)
    assert "search" not in decisions[0].headers["RateLimit-Policy"]


async def test_places_are_given_back(limiter: Limiter) -> None:
    policy = Policy("uploads", Per.USER, 2, 60, at_once=True)
    charges = Charges([Charge.of(policy, f"user-{next(_users)}")])
    first, second = await limiter.take(charges), await limiter.take(charges)
    third = await limiter.take(charges)
    assert [first.admitted, second.admitted, third.admitted] == [True, True, False]
    assert third.headers["RateLimit-Policy"] == '"uploads";q=2;qu="concurrent-requests"'
    limiter.give_back(first)
    await limiter._giving_back.drain()
    assert (await limiter.take(charges)).admitted
    assert not (await limiter.take(charges)).admitted
