"""As many connections as the relay allows, one more after a while, and everybody in turn."""

import asyncio

import pytest

from services.mailer.smtp import connection_slots
from services.mailer.smtp.connection_slots import (
    GROW_AFTER_AT_MOST_S,
    GROW_AFTER_S,
    OPENINGS_AT_ONCE,
    ConnectionSlots,
)
from tests.unit.services.mailer.stopped_clock import StoppedClock, stop_clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    return stop_clock(monkeypatch, connection_slots)


def slots(most: int = 30) -> ConnectionSlots:
    made = ConnectionSlots(most, lambda: made.has_idle or made.may_open)
    return made


async def opened(made: ConnectionSlots, connections: int) -> None:
    for _ in range(connections):
        await made.enter()
        made.opened()


async def test_until_one_is_open_only_one_is_opened_then_a_few_at_once() -> None:
    made = slots()
    turns = [asyncio.create_task(made.enter()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert made.leased == 1
    made.opened()
    await asyncio.sleep(0)
    assert made.leased == 1 + OPENINGS_AT_ONCE
    for turn in turns:
        turn.cancel()
    await asyncio.gather(*turns, return_exceptions=True)


async def test_after_a_refusal_it_keeps_to_those_that_work_and_grows_one_by_one(clock: StoppedClock) -> None:
    made = slots()
    await opened(made, 5)
    await made.enter()
    made.refused()
    made.leave()
    assert not made.may_open
    clock.now += GROW_AFTER_S
    await opened(made, 1)
    assert (made.established, made.may_open) == (6, False)
    clock.now += GROW_AFTER_S
    assert made.may_open


async def test_a_relay_that_goes_on_to_refuse_is_asked_ever_more_rarely(clock: StoppedClock) -> None:
    made = slots()
    await opened(made, 5)
    refusals, end = 0, clock.now + 3600
    while clock.now < end:
        if made.may_open:
            await made.enter()
            made.refused()
            made.leave()
            refusals += 1
        clock.now += 1
    assert refusals <= 3600 / GROW_AFTER_AT_MOST_S + 8
    clock.now += GROW_AFTER_AT_MOST_S
    assert made.may_open, "it never stops to ask"


async def test_no_more_than_most(clock: StoppedClock) -> None:
    made = slots(3)
    await opened(made, 3)
    clock.now += 10 * GROW_AFTER_AT_MOST_S
    assert not made.may_open
    made.begin_close()
    made.leave()
    assert not made.may_open, "the relay still counts the one that is being closed"
    made.end_close()
    assert made.may_open


async def test_who_waits_is_served_in_order_and_who_gave_up_takes_no_turn() -> None:
    made, served = slots(1), list[int]()

    async def wait(number: int) -> None:
        await made.enter()
        served.append(number)

    await opened(made, 1)
    turns = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    turns[0].cancel()
    for expected in ([1], [1, 2]):
        made.leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert served == expected
    made.leave()
    assert made.leased == 0


async def test_a_turn_that_comes_with_a_cancel_is_passed_on() -> None:
    made = slots(1)
    await opened(made, 1)
    first, second = (asyncio.create_task(made.enter()) for _ in range(2))
    await asyncio.sleep(0)
    made.leave()  # the first's turn, which it does not know of yet
    first.cancel()
    await second
    assert made.leased == 1
    assert first.cancelled()
