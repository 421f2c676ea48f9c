"""Who is refused first when there is too much to do."""

import asyncio
import time

import pytest

from libs.common import background, metrics
from services.gateway.http import load_shedding
from services.gateway.http.load_shedding import LoadShedder, Urgency
from services.gateway.problems import Overloaded
from tests.polling import until


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
