"""The servers are asked seldom, however many ask."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from services.gateway.engine import readiness
from services.gateway.engine.readiness import CHECK_EVERY_S, Readiness


class Server:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.there = True

    async def reachable(self) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        return self.there


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """It stands still until a test moves it."""
    moved = SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(readiness, "time", SimpleNamespace(monotonic=lambda: moved.now))
    return moved


async def test_many_who_ask_at_once_cost_one_question(clock: SimpleNamespace) -> None:
    postgres, redis = Server(), Server()
    redis.there = False
    asked: Any = Readiness(postgres, redis)  # type: ignore[arg-type]
    answers = await asyncio.gather(*(asked.check() for _ in range(50)))
    assert set(answers) == {(True, False)}
    assert (postgres.asked, redis.asked) == (1, 1)


async def test_an_answer_is_believed_for_a_moment_only(clock: SimpleNamespace) -> None:
    postgres = Server()
    asked: Any = Readiness(postgres, Server())  # type: ignore[arg-type]
    assert await asked.check() == (True, True)
    postgres.there = False
    clock.now += CHECK_EVERY_S
    assert await asked.check() == (True, True)
    clock.now += 0.01
    assert await asked.check() == (False, True)
