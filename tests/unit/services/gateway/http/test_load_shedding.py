"""Who is refused first when there is too much to do."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from libs.common import background, metrics
from services.gateway.http import load_shedding
from services.gateway.http.load_shedding import LargeBodies, LoadShedder, Urgency
from services.gateway.problems import Overloaded
from tests.polling import PATIENCE_S, until


def test_submits_are_shed_first_and_status_last() -> None:
    load_shedder, admit = LoadShedder(100), []
    for _ in range(120):
        for urgency in Urgency:
            try:
                load_shedder.admit(urgency)
            except Overloaded:
                continue
            admit.append(urgency)
    assert len(admit) == 100
    assert Urgency.SUBMIT not in admit[60:]
    assert set(admit[80:]) == {Urgency.STATUS}
    for _ in admit:
        load_shedder.release()
    load_shedder.admit(Urgency.SUBMIT)


def test_a_late_event_loop_sheds_all_but_status() -> None:
    load_shedder = LoadShedder(100)
    load_shedder._late_s = 2.0
    for urgency in (Urgency.SUBMIT, Urgency.MANAGE):
        with pytest.raises(Overloaded):
            load_shedder.admit(urgency)
    load_shedder.admit(Urgency.STATUS)


def test_whoever_was_refused_takes_no_room() -> None:
    load_shedder = LoadShedder(10)
    for _ in range(6):
        load_shedder.admit(Urgency.SUBMIT)
    for _ in range(100):
        with pytest.raises(Overloaded):
            load_shedder.admit(Urgency.SUBMIT)
    load_shedder.release()
    load_shedder.admit(Urgency.SUBMIT)
    with pytest.raises(Overloaded):
        load_shedder.admit(Urgency.SUBMIT)


def in_flight() -> float:
    return next(iter(metrics.requests_in_flight.collect())).samples[0].value


def test_the_requests_in_flight_are_told() -> None:
    load_shedder = LoadShedder(10)
    load_shedder.admit(Urgency.STATUS)
    load_shedder.admit(Urgency.SUBMIT)
    assert in_flight() == 2
    load_shedder.release()
    assert in_flight() == 1


async def test_a_loop_that_comes_round_late_is_noticed_and_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_shedding, "CHECK_EVERY_S", 0.001)
    monkeypatch.setattr(load_shedding, "LATE_AFTER_S", 0.02)
    load_shedder = LoadShedder(100)

    async def is_late() -> bool:
        time.sleep(0.5)
        for _ in range(3):  # the watch comes round, once: a moment later it has forgiven
            await asyncio.sleep(0)
        return load_shedder._late_s > 0.02

    async def is_in_time() -> bool:
        return load_shedder._late_s <= 0.02

    async with background.alongside(background.optional(load_shedder.watch())):
        await until(is_late)
        with pytest.raises(Overloaded):
            load_shedder.admit(Urgency.MANAGE)
        load_shedder.admit(Urgency.STATUS)
        await until(is_in_time)
        load_shedder.admit(Urgency.MANAGE)


async def test_one_tenant_gets_half_of_the_places_for_large_bodies_and_gives_them_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_shedding, "PLACE_WITHIN_S", PATIENCE_S)
    places, held, release = LargeBodies(4), list[str](), asyncio.Event()

    async def hold(tenant: str) -> None:
        async with places.place(tenant):
            held.append(tenant)
            await release.wait()

    holding = [asyncio.create_task(hold(tenant)) for tenant in "aaaabbbb"]
    await until(_has(held, 4))
    assert sorted(held) == list("aabb")
    release.set()
    await asyncio.gather(*holding)
    assert sorted(held) == list("aaaabbbb")


async def test_who_gets_no_place_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_shedding, "PLACE_WITHIN_S", 0.01)
    places = LargeBodies(2)
    async with places.place("a"):
        with pytest.raises(Overloaded) as refused:
            async with places.place("a"):
                pytest.fail("there was no place")
        assert refused.value.headers["Retry-After"]
        async with places.place("b"):
            pass
    async with places.place("a"):
        pass


def _has(held: list[str], number: int) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        return len(held) >= number

    return has
