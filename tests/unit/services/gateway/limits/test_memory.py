"""Shares of a limit while Redis is away: all gateways' together are never more than the limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.limits import memory as module
from services.gateway.limits.memory import UNKNOWN_RETRY_US, Admission, Memory
from services.gateway.limits.policies import LOG_AT_MOST, Charge, Per, Policy

S = 1_000_000
NOW = 1_000 * S


def charge(limit: int, window_s: int = 60, subject: str = "me", **more: bool) -> Charge:
    return Charge.of(Policy("api", Per.USER, limit, window_s, **more), subject)


def admit(memory: Memory, to: Charge, amount: int, at_us: int = NOW, *, in_redis: bool = True) -> None:
    memory.add(to, Admission(at_us, amount, f"p{at_us}", 0, in_redis))


@given(
    limit=st.one_of(st.integers(1, 40), st.integers(LOG_AT_MOST + 1, LOG_AT_MOST + 500)),
    before=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    asked=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 400)), max_size=12),
)
def test_all_shares_together_are_the_limit_at_most(
    limit: int, before: list[int], asked: list[tuple[int, int]]
) -> None:
    """Whatever each had admitted before, when all have told each other."""
    to, gateways, left = charge(limit), [Memory() for _ in before], limit
    for gateway, amount in zip(gateways, before, strict=True):
        if amount := min(amount, left):
            admit(gateway, to, amount)
        left -= amount
    for gateway in gateways:
        gateway.begin_alone(str(number) for number, other in enumerate(gateways) if other is not gateway)
    for number, gateway in enumerate(gateways):
        for other in gateways:
            if other is not gateway:
                other.receive(str(number), gateway.report(NOW), complete=True)
    assert not any(gateway.unheard for gateway in gateways)
    let_in = limit - left
    for who, wanted in asked:
        gateway = gateways[who % len(gateways)]
        places, _ = gateway.share(to, NOW, len(gateways))
        if amount := min(places, wanted):
            admit(gateway, to, amount, in_redis=False)
        let_in += amount
    assert let_in <= limit
    shares = [gateway.share(to, NOW, len(gateways))[0] for gateway in gateways]
    assert let_in + sum(shares) > limit - len(gateways), "less than one each is lost by sharing out"


def test_a_place_is_free_when_the_oldest_admission_has_left_the_window() -> None:
    memory, to = Memory(), charge(2, 60)
    memory.begin_alone(())
    admit(memory, to, 1, NOW)
    admit(memory, to, 1, NOW + 10 * S)
    assert memory.share(to, NOW + 20 * S, 1) == (0, 40 * S)
    assert memory.share(to, NOW + 60 * S - 1, 1)[0] == 0
    assert memory.share(to, NOW + 60 * S, 1)[0] == 1
    assert memory.share(to, NOW + 70 * S, 1) == (2, 0)


def test_what_a_gateway_has_not_told_counts_as_redis_last_said() -> None:
    memory, to = Memory(), charge(20)
    memory.note_remaining(to, 8, NOW)
    memory.begin_alone({"other"})
    assert memory.share(to, NOW, 2)[0] == 4, "of the 8 that remained"
    memory.receive("other", {to.key: [(NOW, 5)]}, complete=True)
    assert memory.share(to, NOW, 2)[0] == 7, "of the 15 that are known to remain"


def test_nobody_signs_in_on_a_guess() -> None:
    memory, to = Memory(), charge(6, strict=True)
    memory.begin_alone({"other"})
    assert memory.share(to, NOW, 2) == (0, UNKNOWN_RETRY_US)
    memory.receive("other", {}, complete=False)
    assert memory.share(to, NOW, 2)[0] == 0, "there may be more to tell"
    memory.receive("other", {}, complete=True)
    assert memory.share(to, NOW, 2)[0] == 3


def test_redis_is_told_what_it_did_not_decide_and_all_if_it_forgot() -> None:
    memory, to = Memory(), charge(100)
    admit(memory, to, 3, NOW)
    assert not memory.has_unreported
    memory.begin_alone(())
    admit(memory, to, 2, NOW + S, in_redis=False)
    assert memory.has_unreported
    told = [
        (a.time_us, a.amount) for _, _, admissions in memory.unreported(NOW + S, wiped=False) for a in admissions
    ]
    assert told == [(NOW + S, 2)]
    everything = [a.amount for _, _, admissions in memory.unreported(NOW + S, wiped=True) for a in admissions]
    assert everything == [3, 2]
    assert not memory.has_unreported


def test_what_was_taken_back_never_was() -> None:
    memory, to = Memory(), charge(10)
    memory.begin_alone(())
    memory.add(to, Admission(NOW, 5, "mine"))
    memory.add(to, Admission(NOW, 2, "other"))
    memory.take_back(to, "mine", 3)
    assert memory.share(to, NOW, 1)[0] == 10 - 4
    memory.take_back(to, "mine", 0)
    assert memory.share(to, NOW, 1)[0] == 10 - 4


def test_a_place_given_back_is_the_one_that_was_held() -> None:
    memory, to = Memory(), charge(2, at_once=True)
    memory.begin_alone(())
    for number in range(2):
        memory.add(to, Admission(NOW, 1, "mine", number))
    assert memory.share(to, NOW, 1)[0] == 0
    memory.released(to.key, "mine", 7)
    memory.released("unknown", "mine", 0)
    assert memory.share(to, NOW, 1)[0] == 0
    memory.released(to.key, "mine", 1)
    assert memory.share(to, NOW, 1)[0] == 1


def test_large_limits_are_kept_in_few_buckets_that_count_whole() -> None:
    to, memory = charge(5_000, 16), Memory()
    memory.begin_alone(())
    for turn in range(1_000):
        admit(memory, to, 1, NOW + turn)
    assert len(memory.report(NOW + S)[to.key]) == 1
    assert memory.share(to, NOW + 16 * S, 1)[0] == 4_000, "its bucket has not left the window as a whole"
    assert memory.share(to, NOW + 17 * S, 1)[0] == 5_000


def test_the_ones_that_came_longest_ago_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SUBJECTS_AT_MOST", 2)
    memory = Memory()
    memory.begin_alone(())
    first, second, third = (charge(5, subject=name) for name in ("first", "second", "third"))
    for to in (first, second, first, third):
        admit(memory, to, 1)
    assert set(memory.report(NOW)) == {first.key, third.key}
