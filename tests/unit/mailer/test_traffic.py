"""A domain that answers gets more and more, one that does not gets few, and who waits for room hears of it."""

import asyncio
import math

import pytest

from services.mailer import traffic as module
from services.mailer.traffic import BEGIN_WITH, PROMPT_S, Traffic

NEWS = asyncio.Event()
"""Of whoever leaves."""


def entered(traffic: Traffic, domain: str = "a.test", *, at_most: int = 100) -> int:
    """How many fit."""
    for number in range(at_most):
        if not traffic.has_room(domain):
            return number
        traffic.enter(domain)
    return at_most


def test_prompt_answers_open_the_window() -> None:
    traffic = Traffic(most=12)
    assert entered(traffic) == BEGIN_WITH
    traffic.leave("a.test", 0.1, NEWS)
    assert entered(traffic) == 2
    for _ in range(2):
        traffic.leave("a.test", PROMPT_S + 1, NEWS)  # late: no more than before
    assert entered(traffic) == 2
    for _ in range(6):
        traffic.leave("a.test", 0.1, NEWS)
        traffic.enter("a.test")
    assert entered(traffic, at_most=50) == 50, "it has proved to answer: the connections are the limit"


def test_silence_closes_it_and_is_remembered() -> None:
    traffic = Traffic(most=100)
    entered(traffic)
    for _ in range(BEGIN_WITH):
        traffic.leave("a.test", math.inf, NEWS)
    assert entered(traffic) == 1
    traffic.leave("a.test", 0.1, NEWS)
    assert entered(traffic) == 2, "it has come back"


def test_after_a_while_it_has_to_prove_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = Traffic(most=100)
    for _ in range(20):  # one after the other
        traffic.enter("a.test")
        traffic.leave("a.test", 0.1, NEWS)
    assert entered(traffic) == BEGIN_WITH + 20
    for _ in range(BEGIN_WITH + 20):
        traffic.leave("a.test", None, NEWS)
    monkeypatch.setattr(module, "TRUSTED_FOR_S", -1.0)
    assert entered(traffic) == BEGIN_WITH


def test_one_domain_never_has_all_connections_at_once() -> None:
    assert [entered(Traffic(most)) for most in (2, 4, 5, 30)] == [1, 2, 2, BEGIN_WITH]


def test_domains_are_apart() -> None:
    traffic = Traffic(most=12)
    entered(traffic, "slow.test")
    assert entered(traffic, "fast.test") == BEGIN_WITH
    assert traffic.load("slow.test") == BEGIN_WITH


def test_who_waits_hears_of_room() -> None:
    traffic, news, other = Traffic(most=12), asyncio.Event(), asyncio.Event()
    entered(traffic)
    entered(traffic, "b.test")
    traffic.when_room("a.test", news)
    traffic.when_room("b.test", other)
    traffic.leave("a.test", math.inf, NEWS)
    assert not news.is_set(), "four are under way, and two may be"
    for _ in range(3):
        traffic.leave("a.test", None, NEWS)
    assert (news.is_set(), other.is_set()) == (True, False)


def test_others_hear_of_room_before_whoever_made_it() -> None:
    traffic, mine, theirs = Traffic(most=12), asyncio.Event(), asyncio.Event()
    entered(traffic)
    traffic.when_room("a.test", mine)
    traffic.when_room("a.test", theirs)
    assert traffic.leave("a.test", None, mine), "there are others"
    assert (mine.is_set(), theirs.is_set()) == (False, True)
    assert not traffic.leave("a.test", None, mine)
    assert mine.is_set()
