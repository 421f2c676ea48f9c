"""Calls run at once, but no more of them than may; and none is left when one has failed."""

import asyncio
from functools import partial

import pytest

from libs.common.parallel import bounded


async def test_results_come_in_order_and_no_more_run_than_may() -> None:
    running = most = 0

    async def call(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(10 - number):  # the first take longest
            await asyncio.sleep(0)
        running -= 1
        return number

    assert await bounded(3, [partial(call, number) for number in range(10)]) == [*range(10)]
    assert most == 3


async def test_without_calls_there_is_nothing() -> None:
    assert await bounded(3, []) == []


async def test_an_error_is_raised_when_the_others_have_ended() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def wait(number: int) -> None:
        begun.append(number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    async def fail() -> None:
        while len(begun) < 2:
            await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bounded(3, (partial(wait, 1), partial(wait, 2), fail, partial(wait, 3)))
    assert begun == [1, 2]
    assert sorted(ended) == [1, 2]


async def test_who_is_cancelled_leaves_none_behind() -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    work = asyncio.create_task(bounded(2, [wait]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert ended.is_set()
