"""What runs beside a block ends with it, whatever it does with its cancellation."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from libs.common.background import alongside, end, ended_by_failure_of


async def test_parts_run_while_the_block_runs_and_have_ended_after_it() -> None:
    begun, ended = asyncio.Event(), []

    async def part() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async with alongside(part()):
        await begun.wait()
    assert ended == [True]


async def test_a_block_that_raises_ends_its_parts_too() -> None:
    async def part() -> None:
        await asyncio.Event().wait()

    running: set[asyncio.Task[object]] = asyncio.all_tasks()
    with pytest.raises(ValueError, match="the block's"):
        async with alongside(part()):
            raise ValueError("the block's")
    assert asyncio.all_tasks() == running


async def test_a_part_that_fails_is_in_the_log_and_stops_nobody() -> None:
    async def fails() -> None:
        raise ValueError("a bug")

    async def works() -> None:
        await asyncio.sleep(0)
        worked.set()

    worked = asyncio.Event()
    with capture_logs() as lines:
        async with alongside(fails(), works()):
            await worked.wait()
    assert [(line["event"], str(line["exc_info"])) for line in lines] == [("background.failed", "a bug")]


async def test_a_cancellation_that_is_lost_is_repeated() -> None:
    lost = asyncio.Event()

    async def loses_the_first() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(loses_the_first())
    await asyncio.sleep(0)
    await end([task])
    assert lost.is_set()
    assert task.cancelled()


async def test_whoever_ends_others_and_is_ended_does_that_first() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def takes_its_time() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            begun.set()
            while not may_end.is_set():
                with suppress(asyncio.CancelledError):
                    await may_end.wait()

    slow = asyncio.create_task(takes_its_time())
    await asyncio.sleep(0)
    ending = asyncio.create_task(end([slow]))
    await begun.wait()
    ending.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert slow.done()


async def test_a_block_ends_with_the_error_of_its_task_though_it_loses_a_cancellation() -> None:
    async def fails() -> None:
        raise ValueError("refused")

    async def block_of_it() -> None:
        async with ended_by_failure_of(asyncio.create_task(fails())):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="refused"):
        await block_of_it()
    block = asyncio.current_task()
    assert block is not None
    assert block.cancelling() == 0


async def test_a_block_whose_task_succeeds_goes_on_and_can_be_cancelled() -> None:
    async def block() -> None:
        async with ended_by_failure_of(asyncio.create_task(asyncio.sleep(0))):
            begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()
    running = asyncio.create_task(block())
    await begun.wait()
    await asyncio.sleep(0)
    assert not running.done()
    await end([running])
    assert running.cancelled()
