"""A domain that answers gets more and more, one that does not gets few, and who waits for room hears of it."""

import asyncio
import math

import pytest

from services.mailer.smtp import domain_slots as module
from services.mailer.smtp.domain_slots import BEGIN_WITH, PROMPT_S, DomainSlots

NEWS = asyncio.Event()
"""Of whoever leaves."""


def entered(domain_slots: DomainSlots, domain: str = "a.test", *, at_most: int = 100) -> int:
    """How many fit."""
    for number in range(at_most):
        if not domain_slots.has_room(domain):
            return number
        domain_slots.enter(domain)
    return at_most


def test_prompt_answers_open_the_window() -> None:
    domain_slots = DomainSlots(most=12)
    assert entered(domain_slots) == BEGIN_WITH
    domain_slots.leave("a.test", 0.1, NEWS)
    assert entered(domain_slots) == 2
    for _ in range(2):
        domain_slots.leave("a.test", PROMPT_S + 1, NEWS)  # late: no more than before
    assert entered(domain_slots) == 2
    for _ in range(6):
        domain_slots.leave("a.test", 0.1, NEWS)
        domain_slots.enter("a.test")
    assert entered(domain_slots, at_most=50) == 50, "it has proved to answer: the connections are the limit"


def test_silence_closes_it_and_is_remembered() -> None:
    domain_slots = DomainSlots(most=100)
    entered(domain_slots)
    for _ in range(BEGIN_WITH):
        domain_slots.leave("a.test", math.inf, NEWS)
    assert entered(domain_slots) == 1
    domain_slots.leave("a.test", 0.1, NEWS)
    assert entered(domain_slots) == 2, "it has come back"


def test_after_a_while_it_has_to_prove_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    domain_slots = DomainSlots(most=100)
    for _ in range(20):  # one after the other
        domain_slots.enter("a.test")
        domain_slots.leave("a.test", 0.1, NEWS)
    assert entered(domain_slots) == BEGIN_WITH + 20
    for _ in range(BEGIN_WITH + 20):
        domain_slots.leave("a.test", None, NEWS)
    monkeypatch.setattr(module, "TRUSTED_FOR_S", -1.0)
    assert entered(domain_slots) == BEGIN_WITH


def test_one_domain_never_has_all_connections_at_once() -> None:
    assert [entered(DomainSlots(most)) for most in (2, 4, 5, 30)] == [1, 2, 2, BEGIN_WITH]


def test_domains_are_apart() -> None:
    domain_slots = DomainSlots(most=12)
    entered(domain_slots, "slow.test")
    assert entered(domain_slots, "fast.test") == BEGIN_WITH
    assert domain_slots.load("slow.test") == BEGIN_WITH


def test_who_waits_hears_of_room() -> None:
    domain_slots, news, other = DomainSlots(most=12), asyncio.Event(), asyncio.Event()
    entered(domain_slots)
    entered(domain_slots, "b.test")
    domain_slots.when_room("a.test", news)
    domain_slots.when_room("b.test", other)
    domain_slots.leave("a.test", math.inf, NEWS)
    assert not news.is_set(), "four are under way, and two may be"
    for _ in range(3):
        domain_slots.leave("a.test", None, NEWS)
    assert (news.is_set(), other.is_set()) == (True, False)


def test_others_hear_of_room_before_whoever_made_it() -> None:
    domain_slots, mine, theirs = DomainSlots(most=12), asyncio.Event(), asyncio.Event()
    entered(domain_slots)
    domain_slots.when_room("a.test", mine)
    domain_slots.when_room("a.test", theirs)
    assert domain_slots.leave("a.test", None, mine), "there are others"
    assert (mine.is_set(), theirs.is_set()) == (False, True)
    assert not domain_slots.leave("a.test", None, mine)
    assert mine.is_set()
