"""The messages of a job: domains in turn, and a domain that must wait holds up no other."""

import asyncio
import math

import pytest

from services.mailer import sending
from services.mailer.sending import OutgoingMessage, SendQueue
from services.mailer.smtp.domain_slots import DomainSlots
from tests.unit.services.mailer.stopped_clock import StoppedClock, stop_clock


def mail(number: int, domain: str = "a.test", content: bytes = b"x") -> OutgoingMessage:
    return OutgoingMessage(
        number, "office@argosy.test", f"r{number}@{domain}", domain, content, 0, 0.0, again=False
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    return stop_clock(monkeypatch, sending)


def taken(outbox: SendQueue, slots: DomainSlots) -> list[int]:
    """The numbers of all that may go now."""
    numbers, news = [], asyncio.Event()
    while (found := outbox.take(slots, news)) is not None:
        slots.enter(found.domain)
        numbers.append(found.number)
    return numbers


def test_domains_take_turns_and_each_keeps_its_order() -> None:
    outbox = SendQueue()
    for number in range(4):
        outbox.put(mail(number, "a.test"))
    for number in range(4, 6):
        outbox.put(mail(number, "b.test"))
    assert taken(outbox, DomainSlots(most=100)) == [0, 4, 1, 5, 2, 3]


def test_count_and_size_are_those_of_what_waits() -> None:
    outbox, slots, news = SendQueue(), DomainSlots(most=100), asyncio.Event()
    for number in range(3):
        outbox.put(mail(number, content=b"y" * 10**number))
    assert (outbox.count, outbox.size) == (3, 111)
    outbox.take(slots, news)
    assert (outbox.count, outbox.size) == (2, 110)
    taken(outbox, slots)
    assert (outbox.count, outbox.size, outbox.waiting) == (0, 0, {})


def test_a_domain_that_must_wait_holds_up_no_other(clock: StoppedClock) -> None:
    outbox, slots = SendQueue(), DomainSlots(most=100)
    for number in range(2):
        outbox.put(mail(number, "slow.test"))
    first = outbox.take(slots, asyncio.Event())
    assert first is not None
    outbox.put(first, after_s=3.0)
    outbox.put(mail(9, "fast.test"))
    assert taken(outbox, slots) == [9]
    assert outbox.wait_s() == 3.0
    clock.now += 3.0
    assert outbox.wait_s() == math.inf
    assert taken(outbox, slots) == [0, 1], "whoever was put back is first"


def test_who_finds_no_room_hears_of_it() -> None:
    outbox, slots, news = SendQueue(), DomainSlots(most=2), asyncio.Event()
    slots.enter("a.test")
    outbox.put(mail(0))
    assert outbox.take(slots, news) is None
    assert not news.is_set()
    slots.leave("a.test", 0.1, asyncio.Event())
    assert news.is_set()
    assert taken(outbox, slots) == [0]


def test_an_empty_outbox_has_nothing_to_wait_for() -> None:
    outbox = SendQueue()
    assert outbox.take(DomainSlots(most=2), asyncio.Event()) is None
    assert outbox.wait_s() == math.inf
