"""A domain that answers gets more and more, one that does not gets few, and nobody is forgotten."""

import asyncio
import math

import pytest

from services.mailer.traffic import BEGIN_WITH, PROMPT_S, Traffic


def entered(traffic: Traffic, domain: str = "a.test", *, at_most: int = 100) -> int:
    """How many fit."""
    return next((number for number in range(at_most) if not traffic.enter(domain)), at_most)


def test_prompt_answers_open_the_window() -> None:
    traffic = Traffic(most=8)
    assert entered(traffic) == BEGIN_WITH
    traffic.leave("a.test", 0.1)
    assert entered(traffic) == 2
    for _ in range(2):
        traffic.leave("a.test", PROMPT_S + 1)  # late: no more than before
    assert entered(traffic) == 2
    for _ in range(2):
        traffic.leave("a.test", 0.1)
    assert entered(traffic, at_most=50) == 50, "it has proved to answer: the connections are the limit"


def test_silence_closes_it() -> None:
    traffic = Traffic(most=100)
    entered(traffic)
    for _ in range(BEGIN_WITH - 1):
        traffic.leave("a.test", math.inf)
    assert not traffic.enter("a.test"), "one is under way, and one is what it may have"
    traffic.leave("a.test", None)
    assert entered(traffic) == BEGIN_WITH, "nobody is there any more: from the beginning"


def test_domains_are_apart() -> None:
    traffic = Traffic(most=8)
    entered(traffic, "slow.test")
    assert entered(traffic, "fast.test") == BEGIN_WITH
    assert traffic.load("slow.test") == BEGIN_WITH


async def test_who_waits_comes_in_order() -> None:
    traffic = Traffic(most=8)
    entered(traffic)
    came = list[int]()

    async def wait(number: int) -> None:
        await traffic.wait("a.test")
        came.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert (traffic.load("a.test"), traffic.enter("a.test")) == (BEGIN_WITH + 4, False)
    waiting[1].cancel()
    await asyncio.sleep(0)
    traffic.leave("a.test", None)
    traffic.leave("a.test", 0.1)  # room for one more than before
    await asyncio.gather(waiting[0], waiting[2], waiting[3])
    assert came == [0, 2, 3]


async def test_a_turn_that_came_too_late_goes_to_the_next() -> None:
    traffic = Traffic(most=8)
    entered(traffic)
    first, second = (asyncio.create_task(traffic.wait("a.test")) for _ in range(2))
    await asyncio.sleep(0)
    traffic.leave("a.test", None)
    first.cancel()  # it has its turn, and has not noticed
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert traffic.load("a.test") == BEGIN_WITH
