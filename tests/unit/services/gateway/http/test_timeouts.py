"""What takes too long is given up, and says so; what ends in time, or is cancelled from outside, is left alone."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.common import background
from services.gateway.http import timeouts as module
from services.gateway.http.timeouts import Timeouts
from services.gateway.problems import DeadlineExceeded, RequestTimeout


@pytest.fixture
async def timeouts(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Timeouts]:
    monkeypatch.setattr(module, "CHECK_EVERY_S", 0.005)
    made = Timeouts()
    async with background.alongside(background.optional(made.watch())):
        yield made


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_block_that_takes_too_long_raises_its_problem(timeouts: Timeouts) -> None:
    with pytest.raises(DeadlineExceeded), timeouts.within(0.01):
        await forever()
    with pytest.raises(RequestTimeout), timeouts.within(0.01, RequestTimeout):
        await forever()
    await asyncio.sleep(0)  # the task goes on: nothing of the cancellation is left


async def test_a_time_that_is_over_already_leaves_no_time(timeouts: Timeouts) -> None:
    with pytest.raises(DeadlineExceeded), timeouts.within(-1):
        await forever()


async def test_of_two_blocks_the_inner_one_that_is_late_says_why(timeouts: Timeouts) -> None:
    with pytest.raises(RequestTimeout), timeouts.within(60), timeouts.within(0.01, RequestTimeout):
        await forever()
    with pytest.raises(DeadlineExceeded), timeouts.within(0.01), timeouts.within(60, RequestTimeout):
        await forever()


async def test_what_ends_in_time_is_forgotten(timeouts: Timeouts) -> None:
    with timeouts.within(0.02):
        pass
    with timeouts.within(60):
        await asyncio.sleep(0.05)  # beyond the time of the block before
    assert not timeouts._running


async def test_an_error_of_the_block_is_its_own(timeouts: Timeouts) -> None:
    with pytest.raises(ZeroDivisionError), timeouts.within(60):
        raise ZeroDivisionError


async def test_whoever_is_cancelled_from_outside_stays_cancelled(timeouts: Timeouts) -> None:
    async def block() -> None:
        with timeouts.within(60):
            await forever()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not timeouts._running


async def test_late_and_cancelled_from_outside_at_once_is_cancelled(timeouts: Timeouts) -> None:
    """The connection has gone while the time ran out: nobody may be answered any more."""

    async def block() -> None:
        with timeouts.within(60):
            await forever()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    (within,) = timeouts._running
    within.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
