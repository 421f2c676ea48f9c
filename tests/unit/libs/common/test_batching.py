"""What arrives together travels together."""

import asyncio

import pytest

from libs.common.batching import Batcher
from libs.common.errors import Unavailable


async def test_calls_during_a_flush_go_together_in_the_next() -> None:
    batches: list[list[int]] = []
    gate = asyncio.Event()

    async def flush(items: list[int]) -> list[int]:
        batches.append(items)
        await gate.wait()
        return [item * 10 for item in items]

    batcher = Batcher(flush)
    first = batcher(1)
    while not batches:
        await asyncio.sleep(0)
    rest = [batcher(number) for number in (2, 3, 4)]
    gate.set()
    assert await first == 10
    assert await asyncio.gather(*rest) == [20, 30, 40]
    assert batches == [[1], [2, 3, 4]]


async def test_a_batch_is_never_larger_than_allowed() -> None:
    sizes: list[int] = []

    async def flush(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return items

    batcher = Batcher(flush, max_size=4)
    assert await asyncio.gather(*(batcher(number) for number in range(10))) == list(range(10))
    assert sizes == [4, 4, 2]


async def test_a_bad_item_spoils_nobody_elses_call() -> None:
    async def flush(items: list[int]) -> list[int]:
        if 13 in items:
            raise ValueError("unlucky")
        return items

    batcher = Batcher(flush)
    answers = await asyncio.gather(*(batcher(number) for number in (12, 13, 14)), return_exceptions=True)
    assert answers[0] == 12
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 14


async def test_an_absent_server_fails_the_whole_batch_with_one_try() -> None:
    tries = 0

    async def flush(items: list[int]) -> list[int]:
        nonlocal tries
        tries += 1
        raise Unavailable("gone")

    batcher = Batcher(flush)
    answers = await asyncio.gather(batcher(1), batcher(2), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert tries == 1


async def test_a_caller_that_gave_up_does_not_hold_up_the_others() -> None:
    async def flush(items: list[int]) -> list[int]:
        return items

    batcher = Batcher(flush)
    given_up, waiting = batcher(1), batcher(2)
    given_up.cancel()
    assert await waiting == 2


async def test_drain_waits_for_everything_handed_in() -> None:
    flushed: list[int] = []

    async def flush(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        flushed.extend(items)
        return items

    batcher = Batcher(flush, max_size=1)
    futures = [batcher(1), batcher(2)]
    await batcher.drain()
    assert flushed == [1, 2]
    assert [future.result() for future in futures] == [1, 2]


async def test_cancelling_a_flush_leaves_no_caller_waiting() -> None:
    async def flush(items: list[int]) -> list[int]:
        await asyncio.Event().wait()
        return items

    batcher = Batcher(flush, max_size=1)
    futures = [batcher(1), batcher(2)]
    await asyncio.sleep(0)
    (flushing,) = batcher._flushing
    flushing.cancel()
    for future in futures:
        with pytest.raises(asyncio.CancelledError):
            await future
