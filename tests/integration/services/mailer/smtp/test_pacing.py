"""Limits hold where the receiver counts, for all mailers together."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.local.test_servers import Trio
from services.mailer import sending
from services.mailer.smtp import pacing
from services.mailer.smtp.pacing import Pacer, Permit, Rate, Rates
from tests.mailing import Mailer
from tests.polling import until
from tests.relay import Relay
from tests.server_process import ServerProcess

LETTER = {"subject": "Tides", "text": "Dear {{ name }}"}


WINDOW_S = 1.0


COUNTER = "argosy:mail:domain:slow.test"


def most_in_a_window(times: list[float], window_s: float = WINDOW_S) -> int:
    """The most events in any window."""
    times = sorted(times)
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


async def test_a_domain_gets_no_more_than_its_limit_from_three_mailers(mailer: Mailer, relay: Relay) -> None:
    """And the other domains do not wait for it."""
    await mailer.configured(mail_limits="domain:slow.test=5/s")
    recipients = [
        {"to": f"s{n}-{part}@slow.test", "variables": {"name": n}} for part in range(6) for n in range(5)
    ]
    fast = [{"to": f"f{n}@fast.test", "variables": {"name": n}} for n in range(60)]
    for part in range(6):
        chosen = recipients[5 * part : 5 * part + 5] + fast[10 * part : 10 * part + 10]
        await mailer.accept(letter=LETTER, recipients=chosen)
    last = await mailer.accept(letter=LETTER, recipients=[{"to": "last@fast.test", "variables": {"name": 0}}])
    async with mailer.at_work(workers=3):
        await mailer.ended(last)
        from_all = await mailer.all_ended()
    assert {facts["state"] for facts in from_all} == {"succeeded"}
    slow = [delivery.at for delivery in relay.deliveries if delivery.recipient.endswith("@slow.test")]
    assert len(slow) == 30
    assert most_in_a_window(slow) <= 5
    quick = [delivery.at for delivery in relay.deliveries if delivery.recipient.endswith("@fast.test")]
    assert len(quick) == 61
    assert max(quick) < sorted(slow)[-6], "before the slow ones are through"


async def test_limits_of_a_tenant_and_of_the_relay(mailer: Mailer, relay: Relay) -> None:
    await mailer.configured(mail_limits="tenant=4/s, relay=6/s")
    for tenant in ("acme", "globex"):
        recipients = [{"to": f"{tenant}{n}@example.test", "variables": {"name": n}} for n in range(8)]
        await mailer.accept(letter=LETTER, recipients=recipients, tenant=tenant)
    async with mailer.at_work(workers=2):
        await mailer.all_ended()
    assert most_in_a_window([delivery.at for delivery in relay.deliveries]) <= 6
    for tenant in ("acme", "globex"):
        times = [delivery.at for delivery in relay.deliveries if delivery.recipient.startswith(tenant)]
        assert (len(times), most_in_a_window(times) <= 4) == (8, True)
        assert all(later >= earlier for earlier, later in pairwise(times))


@pytest.fixture
async def redis(servers: Trio) -> AsyncIterator[Redis]:
    """One that knows nothing of mail."""
    client = Redis.from_url(servers.redis.url)
    await client.delete(pacing.EPOCH, COUNTER)
    yield client
    await client.aclose()


async def permitted(pacer: Pacer) -> Permit:
    """A message that may be sent, as soon as one may."""
    permit = pacer.permit("relay", "dev", "slow.test")

    async def granted() -> bool:
        return not await pacer.take(permit)

    await until(granted)
    return permit


async def test_a_redis_that_forgot_all_is_no_fresh_start(
    redis_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two mailers; Redis is killed and wiped when the limit is reached, and one of them has no more to send.

    Telling it what it forgot breaks off, and is begun again.
    """
    rates = Rates(domain=Rate(6, window_s=15))
    redis = Redis.from_url(redis_server.server.urls["mailer"], socket_connect_timeout=1, socket_timeout=1)
    first, second = (Pacer(redis, rates) for _ in range(2))
    let_go = list[float]()

    async def send(pacer: Pacer, number: int) -> None:
        for _ in range(number):
            permit = await permitted(pacer)
            let_go.append(time.monotonic())
            pacer.done(permit)

    interrupted = iter([True, True])
    told = redis.zadd

    async def once_interrupted(*args: Any) -> Any:
        if next(interrupted, False):
            raise ConnectionError
        return await told(*args)

    monkeypatch.setattr(redis, "zadd", once_interrupted)
    async with first.holding(), second.holding():
        await asyncio.gather(send(first, 2), send(second, 4))
        await asyncio.to_thread(redis_server.stop, signal.SIGKILL)
        for file in (redis_server.folder / "redis").rglob("*.aof"):
            file.unlink()
        await asyncio.to_thread(redis_server.start)
        await send(first, 3)
    assert most_in_a_window(let_go, 15.0) <= 6
    await redis.aclose()


async def test_who_tells_of_older_messages_does_not_shorten_the_count_of_newer_ones(redis: Redis) -> None:
    older, newer = (Pacer(redis, Rates(domain=Rate(5, window_s=60))) for _ in range(2))
    for pacer in (older, newer):
        pacer.done(await permitted(pacer))
        await pacer.take(pacer.permit("relay", "dev", "other.test"))  # whatever came before has been told
    for done in older._done._by_window.values():
        (at_us, permit) = done.pop()
        done.append((at_us - 50_000_000, permit))
    await redis.delete(pacing.EPOCH, COUNTER)
    for pacer in (newer, older):
        await pacer.take(pacer.permit("relay", "dev", "other.test"))
    assert await redis.zcard(COUNTER) == 2
    assert await redis.pttl(COUNTER) > 60_000


async def test_an_end_that_redis_did_not_hear_of_is_told_when_it_is_back(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacer = Pacer(redis, Rates(domain=Rate(5, window_s=60)))
    permit = await permitted(pacer)
    unheard = await redis.zscore(COUNTER, permit.member)

    async def away(*_args: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as outage:
        outage.setattr(redis, "evalsha", away)
        pacer.done(permit)
        await pacer._batcher.drain()
    await pacer.take(pacer.permit("relay", "dev", "other.test"))
    heard = await redis.zscore(COUNTER, permit.member)
    assert unheard is not None
    assert heard is not None
    assert heard < unheard, "a window after its end, not after its mailer would be thought dead"


async def test_without_redis_what_has_a_limit_waits(mailer: Mailer, monkeypatch: pytest.MonkeyPatch) -> None:
    await mailer.configured(mail_limits="domain:slow.test=5/s", redis_url="redis://127.0.0.1:1/0")
    job = await mailer.accept(
        letter=LETTER,
        recipients=[{"to": f"a@{domain}.test", "variables": {"name": "a"}} for domain in ("slow", "fast")],
    )
    monkeypatch.setattr(sending, "TURN_S", 1.5)
    await mailer.work()
    found = await mailer.recipients(job)
    assert {address: known["state"] for address, known in found.items()} == {
        "a@slow.test": "queued",
        "a@fast.test": "sent",
    }
