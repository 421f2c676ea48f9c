"""The servers are asked seldom, however many ask, and none is waited for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from services.gateway.engine import readiness
from services.gateway.engine.readiness import CHECK_EVERY_S, Readiness


class Server:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.there = True
        self.answers = asyncio.Event()
        self.answers.set()

    async def reachable(self) -> bool:
        self.asked += 1
        await self.answers.wait()
        return self.there


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """It stands still until a test moves it."""
    moved = SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(readiness, "time", SimpleNamespace(monotonic=lambda: moved.now))
    return moved


@asynccontextmanager
async def asking(**questions: Callable[[], Awaitable[bool]]) -> AsyncIterator[Readiness]:
    made = Readiness(questions)
    async with made.running():
        yield made


async def test_many_who_ask_at_once_cost_one_question(clock: SimpleNamespace) -> None:
    postgres, redis = Server(), Server()
    redis.there = False
    async with asking(postgres=postgres.reachable, redis=redis.reachable) as asked:
        answers = await asyncio.gather(*(asked.check() for _ in range(50)))
    assert answers == [{"postgres": True, "redis": False}] * 50
    assert (postgres.asked, redis.asked) == (1, 1)


async def test_an_answer_is_believed_for_a_moment_only(clock: SimpleNamespace) -> None:
    postgres = Server()
    async with asking(postgres=postgres.reachable) as asked:
        assert await asked.check() == {"postgres": True}
        postgres.there = False
        clock.now += CHECK_EVERY_S
        assert await asked.check() == {"postgres": True}
        clock.now += 0.01
        assert await asked.check() == {"postgres": False}


async def test_silent_servers_are_not_waited_for_and_not_asked_twice(clock: SimpleNamespace) -> None:
    postgres, redis, nats = Server(), Server(), Server()
    postgres.answers.clear()
    redis.answers.clear()
    async with asking(postgres=postgres.reachable, redis=redis.reachable, nats=nats.reachable) as asked:
        assert await asked.check() == {"postgres": False, "redis": False, "nats": True}
        redis.answers.set()
        clock.now += CHECK_EVERY_S + 0.01
        assert await asked.check() == {"postgres": False, "redis": False, "nats": True}, "that answer was too late"
        clock.now += CHECK_EVERY_S + 0.01
        assert await asked.check() == {"postgres": False, "redis": True, "nats": True}
        assert (postgres.asked, redis.asked, nats.asked) == (1, 2, 3)


async def test_servers_are_asked_at_the_same_time(clock: SimpleNamespace) -> None:
    both = asyncio.Barrier(2)

    async def reachable() -> bool:
        await both.wait()
        return True

    async with asking(postgres=reachable, redis=reachable) as asked:
        assert await asked.check() == {"postgres": True, "redis": True}


async def test_a_question_that_raises_is_answered_with_no(clock: SimpleNamespace) -> None:
    async def broken() -> bool:
        raise ZeroDivisionError

    async with asking(broken=broken) as asked:
        assert await asked.check() == {"broken": False}
