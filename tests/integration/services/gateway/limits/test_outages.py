"""Redis killed, away, back and empty: nobody gets a fresh start, and nobody gets more than the limit."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from services.gateway.limits import outages
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.outages import Mode
from services.gateway.limits.policies import Charge, Charges, Per, Policy
from services.gateway.limits.shared import Lost
from tests.integration.services.gateway.limits.gateways import Gateways, most_in_a_window
from tests.polling import until
from tests.server_process import ServerProcess

_users = count()


@pytest.fixture
async def two(redis_server: ServerProcess, nats_bus: Bus, servers: Trio) -> AsyncIterator[tuple[Limiter, Limiter]]:
    """The limiters of two gateways that know of each other."""
    redis = Redis.from_url(redis_server.server.urls["gateway"], socket_connect_timeout=1, socket_timeout=1)
    first, second = (Limiter(redis, nats_bus, budget_s=1.0) for _ in range(2))
    async with first.running(), second.running():

        async def acquainted() -> bool:
            return first._outages.peers == {second.gateway} and second._outages.peers == {first.gateway}

        await until(acquainted)
        yield first, second
    await redis.aclose()


def charged(limit: int, window_s: int = 60, **more: bool) -> Charges:
    return Charges([Charge.of(Policy("api", Per.USER, limit, window_s, **more), f"outage-{next(_users)}")])


async def admitted(limiter: Limiter, charges: Charges, asked: int) -> int:
    decisions = await asyncio.gather(*(limiter.take(charges) for _ in range(asked)))
    return sum(decision.admitted for decision in decisions)


async def mode(limiter: Limiter, wanted: Mode) -> None:
    async def is_reached() -> bool:
        return limiter.mode is wanted

    await until(is_reached)


def forgetting(server: ServerProcess, size: int | None) -> None:
    """Start a killed Redis with the first `size` bytes of what it had written; None: all."""
    if size is not None:
        os.truncate(server.folder / "redis" / "appendonly.aof", size)
    server.start()


def written(server: ServerProcess) -> int:
    """Bytes that Redis has written so far."""
    return (server.folder / "redis" / "appendonly.aof").stat().st_size


async def killed(server: ServerProcess, *limiters: Limiter) -> None:
    server.stop(signal.SIGKILL)
    for limiter in limiters:
        await mode(limiter, Mode.ALONE)

    async def have_told_each_other() -> bool:
        return not any(limiter._memory.unheard for limiter in limiters)

    await until(have_told_each_other)


@pytest.mark.parametrize("kept", ["all", "nothing", "some"])
@pytest.mark.parametrize("limit", [20, 5_000])
async def test_what_was_left_is_shared_out_and_merged_on_return(
    two: tuple[Limiter, Limiter], redis_server: ServerProcess, limit: int, kept: str
) -> None:
    """Whatever Redis still has: it writes its file behind its answers, so the last may be lost."""
    first, second = two
    charges, fresh = charged(limit), charged(7)
    assert await admitted(second, charges, limit - 15) == limit - 15
    size = {"all": None, "nothing": 0, "some": written(redis_server)}[kept]
    assert await admitted(first, charges, 3) == 3
    await killed(redis_server, first, second)
    assert await admitted(first, charges, 50) == 6, "half of the 12 that were left"
    assert await admitted(second, charges, 50) == 6
    assert await admitted(first, fresh, 50) == await admitted(second, fresh, 50) == 3
    forgetting(redis_server, size)
    for limiter in two:
        await mode(limiter, Mode.SHARED)
    assert await admitted(first, charges, 50) == 0
    assert await admitted(second, charges, 50) == 0
    assert await admitted(first, fresh, 50) == 1


async def test_what_a_tenant_had_left_is_shared_out_whatever_keys_ask(
    two: tuple[Limiter, Limiter], redis_server: ServerProcess
) -> None:
    whole = Charge.of(Policy("tenant-api", Per.TENANT, 20, 60), f"outage-{next(_users)}")

    def key() -> Charges:
        return Charges([Charge.of(Policy("api", Per.USER, 20, 60), f"outage-{next(_users)}"), whole])

    first, second = two
    assert await admitted(first, key(), 5) == 5
    assert await admitted(second, key(), 3) == 3
    await killed(redis_server, first, second)
    assert [await admitted(limiter, key(), 4) for limiter in (*two, *two, *two)] == [4, 4, 2, 2, 0, 0]
    redis_server.start()
    for limiter in two:
        await mode(limiter, Mode.SHARED)
    assert [await admitted(limiter, key(), 4) for limiter in two] == [0, 0]


async def test_what_was_granted_but_not_yet_noticed_is_told_too(
    two: tuple[Limiter, Limiter], redis_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis dies; one gateway has its last answer, and is too busy to read it before it hears of the outage."""
    monkeypatch.setattr(outages, "TOLD_WITHIN_S", 60.0)
    first, second = two
    charges, granted, busy = charged(20), asyncio.Event(), asyncio.Event()
    take = second._shared.take

    async def take_slowly(*asked: Any) -> Any:
        answer = await take(*asked)
        granted.set()
        await busy.wait()
        return answer

    monkeypatch.setattr(second._shared, "take", take_slowly)
    at_second = asyncio.create_task(admitted(second, charges, 15))
    await granted.wait()
    redis_server.stop(signal.SIGKILL)
    at_first = asyncio.create_task(admitted(first, charges, 20))
    try:
        await mode(second, Mode.ALONE)
        assert not at_first.done()
    finally:
        busy.set()
    assert await at_second == 15
    assert await at_first == 2, "half of the 5 that were left"
    assert await admitted(second, charges, 20) == 0


@pytest.mark.parametrize("limit", [20, 5_000])
async def test_a_wiped_redis_is_no_fresh_start(
    two: tuple[Limiter, Limiter], redis_server: ServerProcess, limit: int
) -> None:
    first, second = two
    charges = charged(limit)
    assert await admitted(first, charges, limit // 2) == limit // 2
    async with Redis.from_url(redis_server.server.url) as redis:
        await redis.flushall()
    later = await admitted(second, charges, limit)
    for limiter in two:
        await mode(limiter, Mode.SHARED)
    later += await admitted(second, charges, limit)
    assert later == limit - limit // 2


async def test_they_return_to_redis_under_load_that_never_pauses(
    two: tuple[Limiter, Limiter], redis_server: ServerProcess
) -> None:
    charges, over, let_in = charged(1_000_000), False, 0

    async def load(limiter: Limiter) -> None:
        nonlocal let_in
        while not over:
            let_in += (await limiter.take(charges)).admitted
            await asyncio.sleep(0)  # a share is decided without waiting for anybody

    loads = [asyncio.create_task(load(limiter)) for limiter in two for _ in range(8)]
    await killed(redis_server, *two)
    redis_server.start()
    for limiter in two:
        await mode(limiter, Mode.SHARED)
    over = True
    await asyncio.gather(*loads)
    left = (await two[0].status(charges))[0].remaining
    assert left <= 1_000_000 - let_in, "nothing that was admitted has been forgotten"


async def test_signing_in_stays_strict_until_everybody_has_told(
    two: tuple[Limiter, Limiter], redis_server: ServerProcess
) -> None:
    first, second = two
    charges = charged(6, strict=True)
    assert await admitted(second, charges, 2) == 2
    first._memory.begin_alone({second.gateway})
    assert first._memory.share(charges.each[0], first._shared.clock.earliest_us(), 2)[0] == 0, (
        "nobody has told anything"
    )
    first._memory.end_alone()
    await killed(redis_server, first, second)
    assert await admitted(first, charges, 9) == await admitted(second, charges, 9) == 2


async def test_who_starts_in_an_outage_lets_nobody_in_on_a_guess(
    redis_server: ServerProcess, nats_bus: Bus, two: tuple[Limiter, Limiter]
) -> None:
    first, second = two
    signing_in = charged(6, strict=True)
    assert await admitted(first, signing_in, 6) == 6
    await killed(redis_server, first, second)
    redis = Redis.from_url(redis_server.server.urls["gateway"], socket_connect_timeout=1, socket_timeout=1)
    newcomer = Limiter(redis, nats_bus, budget_s=1.0)
    async with newcomer.running():
        assert await admitted(newcomer, signing_in, 6) == 0
    await redis.aclose()


async def test_one_gateway_cut_off_makes_all_keep_to_their_share(two: tuple[Limiter, Limiter]) -> None:
    first, second = two
    charges = charged(20)
    first._outages._lose(Lost("It is out of reach from here."))
    assert first.mode is Mode.ALONE

    async def is_told() -> bool:
        return second.mode is not Mode.SHARED

    mine = await admitted(first, charges, 20)
    await until(is_told)
    assert mine + await admitted(second, charges, 20) <= 20
    for limiter in two:
        await mode(limiter, Mode.SHARED)
    assert await admitted(first, charges, 20) + await admitted(second, charges, 20) + mine <= 20


@pytest.mark.parametrize(
    ("before", "after"), [((60, 60), (5_000, 60)), ((5_000, 60), (6_000, 3600)), ((9, 900), (5, 1))]
)
async def test_a_figure_that_changes_its_kind_changes_nothing_else(
    two: tuple[Limiter, Limiter], before: tuple[int, int], after: tuple[int, int]
) -> None:
    first, _ = two
    subject = f"changed-{next(_users)}"
    old, new = (Charges([Charge.of(Policy("api", Per.USER, *figure), subject)]) for figure in (before, after))
    assert await admitted(first, old, before[0] + 1) == before[0]
    decision = await first.take(new)
    assert first.mode is Mode.SHARED
    assert decision.admitted or decision.retry_after_s <= after[1]


async def test_many_places_are_given_back_too(two: tuple[Limiter, Limiter]) -> None:
    first, _ = two
    charges = charged(2_000, at_once=True)
    decisions = await asyncio.gather(*(first.take(charges) for _ in range(1_500)))
    for decision in decisions:
        first.give_back(decision)
    await first._giving_back.drain()
    assert await admitted(first, charges, 2_100) == 2_000


async def test_whoever_goes_away_while_it_is_decided_keeps_no_place(two: tuple[Limiter, Limiter]) -> None:
    first, _ = two
    charges = charged(1, at_once=True)
    leaving = asyncio.create_task(first.take(charges))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    async def is_free() -> int:
        return await admitted(first, charges, 1)

    await until(is_free)


async def test_places_given_back_in_an_outage_are_free_afterwards(
    two: tuple[Limiter, Limiter], redis_server: ServerProcess
) -> None:
    first, second = two
    charges = charged(2, at_once=True)
    held = [await first.take(charges) for _ in range(2)]
    await killed(redis_server, first, second)
    first.give_back(held[0])
    redis_server.start()
    for limiter in two:
        await mode(limiter, Mode.SHARED)
    assert await admitted(second, charges, 3) == 1


async def test_through_a_kill_a_wipe_and_the_return(servers: Trio, redis_server: ServerProcess) -> None:
    """Four gateways with wrong clocks under random traffic: at most 1.05 of the limit in any window."""
    limit, window_s, seconds = 60, 3, 14
    orders = {
        "redis": redis_server.server.urls["gateway"],
        "nats": servers.nats.url,
        "user": "through",
        "policies": [("api", limit, window_s)],
        "seed": 7,
        "seconds": seconds,
        "pause_s": 0.02,
        "budget_s": 1.0,
    }
    gateways = Gateways(orders)
    await gateways.start()
    running = asyncio.create_task(gateways.admitted())
    await asyncio.sleep(3)
    redis_server.stop(signal.SIGKILL)
    await asyncio.sleep(4)
    redis_server.start()
    admissions, modes = await running
    assert {"shared", "alone"} <= modes
    assert most_in_a_window(admissions, window_s * 1_000_000) <= 1.05 * limit
    assert len(admissions) >= limit * seconds / window_s / 2, "and it is of use meanwhile"
