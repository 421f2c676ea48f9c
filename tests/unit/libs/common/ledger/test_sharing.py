"""Sharing a queue by time: its decisions one by one, and in simulated queues of any shape."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.ledger.picking import PREEMPTED_AT_MOST, hand_out
from libs.common.ledger.sharing import LONG_S, WAITED_S, Running, Standing
from tests.unit.libs.common.ledger.slot_simulation import TICK_S, SimulatedJob, Simulation

SLACK_S = WAITED_S + 6 * TICK_S
"""A starving tenant has a slot by then: it is noticed, somebody is asked, stops and is replaced."""


def running(tenant: str, *ran_s: float, preempted: int = 0, asked: bool = False, first: int = 0) -> list[Running]:
    return [
        Running(UUID(int=first + number), 1, tenant, ran, preempted, asked) for number, ran in enumerate(ran_s)
    ]


def standing(slots: int, jobs: Sequence[Running], cap: int | None = None, **waited_s: float) -> Standing:
    return Standing(slots, cap, jobs, waited_s)


def test_the_youngest_job_of_the_tenant_beyond_its_share_gives_way() -> None:
    jobs = running("a", 30, 9, 20)
    assert standing(3, jobs, a=99, b=WAITED_S).give_way() == [jobs[1]]


def test_nobody_gives_way_before_time_or_while_a_slot_is_free() -> None:
    jobs = running("a", 30, 20)
    assert standing(2, jobs, a=99, b=WAITED_S - 1).give_way() == []
    assert standing(3, jobs, a=99, b=WAITED_S).give_way() == []
    assert standing(2, running("a", 30, asked=True) + running("a", 20, first=9), b=99).give_way() == []


def test_a_tenant_alone_never_gives_way() -> None:
    alone = standing(2, running("a", 300, 200), a=999)
    assert (alone.starving, alone.is_contended, alone.give_way()) == ([], False, [])


def test_a_tenant_within_its_share_keeps_its_slots() -> None:
    jobs = running("a", 30, 20) + running("b", 30, 20, first=10)
    assert standing(4, jobs, a=99, b=99).give_way() == []
    crowd = {f"t{number}": 99.0 for number in range(100)}
    assert Standing(2, None, running("a", 30) + running("b", 40, first=10), crowd).give_way() == []


def test_who_is_farthest_beyond_gives_way_first_then_who_has_run_longest() -> None:
    a, b = running("a", 9, 8, 7), running("b", 90, 80, first=10)
    assert standing(5, a + b, c=99).give_way() == [a[2]]
    a, b = running("a", 9, 8), running("b", 90, 80, first=10)
    assert standing(4, a + b, c=99).give_way() == [b[1]]


def test_each_starving_tenant_gets_one_slot_a_round() -> None:
    jobs = running("a", *range(10, 20))
    assert standing(10, jobs, a=99, b=99, c=99).give_way() == jobs[:2]
    assert len(Standing(10, None, jobs, {f"t{n}": 99.0 for n in range(50)}).give_way()) == 9


def test_a_job_gives_way_so_often_and_then_its_tenant_is_confined() -> None:
    settled = running("a", 5, preempted=PREEMPTED_AT_MOST)
    others = running("a", 50, 40, first=10)
    assert standing(4, settled + others + running("b", 1, first=20), b=99).give_way() == [others[1]]
    assert standing(1, settled, b=99).give_way() == []
    assert standing(4, settled + running("b", 1, 1, 1, first=20), a=99).starving == []


def test_a_cap_bounds_the_share() -> None:
    assert standing(10, running("a", 9), cap=2, b=1).share == 2
    assert standing(2, running("a", 9) + running("b", 9, first=10), cap=1, b=99).starving == []


def test_short_jobs_are_not_shared_out() -> None:
    assert not standing(2, running("a", LONG_S / 2, LONG_S / 3), b=99).is_contended
    assert standing(2, running("a", LONG_S, LONG_S / 3), b=99).is_contended


def test_slots_go_to_who_holds_the_fewest() -> None:
    assert hand_out({"a": 3, "b": 1}, {"a": 9, "b": 9, "c": 9}, 4) == {"b": 2, "c": 2}
    assert hand_out({}, {"b": 1, "a": 9}, 3) == {"b": 1, "a": 2}
    assert hand_out({"a": 5}, {"a": 2}, 9) == {"a": 2}
    assert hand_out({}, {"a": 2}, 0) == {}


JOBS = st.lists(
    st.tuples(st.sampled_from("aaabcde"), st.floats(0, 60), st.one_of(st.floats(0.3, 3), st.floats(5, 90))),
    min_size=1,
    max_size=16,
)


@settings(max_examples=40)
@given(slots=st.integers(1, 6), jobs=JOBS)
def test_whatever_comes_each_tenant_gets_its_share_and_no_slot_is_idle(
    slots: int, jobs: list[tuple[str, float, float]]
) -> None:
    simulation = Simulation(slots, [SimulatedJob(number, *job) for number, job in enumerate(jobs)])
    deprived_s = Counter[str]()
    while any(job.ended_at is None for job in simulation.jobs):
        simulation.tick()  # asserts that no slot is idle
        seen = simulation.standing()
        held = Counter(job.tenant for job in simulation.running if not job.asked)
        beyond = [
            job
            for job in simulation.running
            if held[job.tenant] > seen.share and job.preempted < PREEMPTED_AT_MOST and not job.asked
        ]
        for name in set("abcde"):
            is_deprived = name in seen.starving and beyond and seen.is_contended
            deprived_s[name] = deprived_s[name] + TICK_S if is_deprived else 0  # type: ignore[assignment]
            assert deprived_s[name] <= SLACK_S - WAITED_S, "who starves gets a slot of those who hold too many"
    assert all(job.preempted <= PREEMPTED_AT_MOST for job in simulation.jobs)
    assert all(job.wasted_s <= job.preempted * (job.duration_s + TICK_S) for job in simulation.jobs)
    if len({job.tenant for job in simulation.jobs}) == 1:
        assert not simulation.was_shared


@pytest.mark.parametrize("slots", [2, 3, 8])
@pytest.mark.parametrize("every_s", [7, 20])
def test_s31_a_flood_of_slow_documents_delays_nobody_by_more_than_a_page(slots: int, every_s: int) -> None:
    page_s = 120.0
    flood = [SimulatedJob(number, "flood", 0.0, page_s) for number in range(40)]
    others = [SimulatedJob(100 + number, "other", 3.0 + number * every_s, 0.5) for number in range(30)]
    simulation = Simulation(slots, flood + others)
    while any(job.ended_at is None for job in others):
        simulation.tick()
    waits = sorted((job.first_started_at or 0) - job.due_at for job in others)
    assert waits[0] <= SLACK_S
    assert waits[-1] <= SLACK_S + page_s, "a page that gave way often enough runs on"


def test_time_and_not_turns_is_shared_between_long_and_short_jobs() -> None:
    """By turns, the short jobs would have a hundredth of the time."""
    long = [SimulatedJob(number, "long", 0.0, 60.0) for number in range(20)]
    short = [SimulatedJob(100 + number, "short", 0.0, 1.0) for number in range(200)]
    simulation = Simulation(2, long + short)
    while simulation.now < 240:
        simulation.tick()
    ended = sum(job.ended_at is not None for job in short)
    assert ended >= 150
    assert sum(job.wasted_s for job in long) <= 2 * SLACK_S


def test_a_hundred_tenants_with_slow_documents_take_turns() -> None:
    names = [f"t{number:03}" for number in range(100)]
    jobs = [SimulatedJob(4 * n + k, name, 0.0, 10.0) for n, name in enumerate(names) for k in range(4)]
    simulation = Simulation(4, jobs)
    while len({job.tenant for job in jobs if job.first_started_at is not None}) < 100:
        simulation.tick()
    firsts = {name: min(job.first_started_at or 0 for job in jobs if job.tenant == name) for name in names}
    assert max(firsts.values()) <= 10 * 100 / 4 * 1.2 + 20, "all have had a turn before anyone has had many"
    assert sum(job.wasted_s for job in jobs) <= 4 * 10
