"""One decision for each request: all or nothing, told as it is, and given back."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from libs.common.errors import Unavailable
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.policies import Charge, Charges, Per, Policy
from tests.integration.services.gateway.limits.charging import PATIENT_S, charged, new_user
from tests.polling import until


async def test_after_a_stop_nobody_asks_redis_any_more(servers: Trio, nats_bus: Bus) -> None:
    """A request that ends late must not open what has been closed."""
    client, user = Redis.from_url(servers.redis.urls["gateway"]), new_user()
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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    of_key=st.integers(1, 8),
    of_tenant=st.integers(1, 20),
    asked=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=1, max_size=6),
)
async def test_keys_of_a_tenant_share_its_limit(
    both: list[Limiter], of_key: int, of_tenant: int, asked: list[tuple[int, int]]
) -> None:
    """However many keys ask at however many gateways: a request that is refused costs neither key nor tenant."""
    whole = Charge.of(Policy("tenant-api", Per.TENANT, of_tenant, 60), new_user())
    keys = [Charges([Charge.of(Policy("api", Per.USER, of_key, 60), new_user()), whole]) for _ in asked]
    requests = [
        both[who].take(charges) for charges, (who, many) in zip(keys, asked, strict=True) for _ in range(many)
    ]
    admitted = sum(decision.admitted for decision in await asyncio.gather(*requests))
    assert admitted == min(of_tenant, sum(min(of_key, many) for _, many in asked))
    remaining = [await both[0].status(charges) for charges in keys]
    assert {of_all.remaining for _, of_all in remaining} == {of_tenant - admitted}
    assert sum(of_key - own.remaining for own, _ in remaining) == admitted


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


async def test_a_shadow_refuses_nobody(limiter: Limiter) -> None:
    charges = charged(("api", 50, 60), ("search", 3, 60), shadow="search")
    decisions = [await limiter.take(charges) for _ in range(10)]
    assert all(decision.admitted for decision in decisions)
    assert "search" not in decisions[0].headers["RateLimit-Policy"]


async def test_places_are_given_back(limiter: Limiter) -> None:
    policy = Policy("uploads", Per.USER, 2, 60, at_once=True)
    charges = Charges([Charge.of(policy, new_user())])
    first, second = await limiter.take(charges), await limiter.take(charges)
    third = await limiter.take(charges)
    assert [first.admitted, second.admitted, third.admitted] == [True, True, False]
    assert third.headers["RateLimit-Policy"] == '"uploads";q=2;qu="concurrent-requests"'
    limiter.give_back(first)
    await limiter._giving_back.drain()
    assert (await limiter.take(charges)).admitted
    assert not (await limiter.take(charges)).admitted
