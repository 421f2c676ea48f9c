"""How many tickets may lie on the conveyor: some seconds of work, and enough for idle workers."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from libs.common.bus import StreamState
from libs.common.ledger.picking import WINDOW_LARGEST
from libs.common.ledger.requeueing import Demand
from libs.common.ledger.sharing import WAITED_S
from services.gateway.engine import dispatcher
from services.gateway.engine.dispatcher import WINDOW_S, _may_starve, _QueueState, _size_window

NOW = 1_000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands still: how slow the machine is changes nothing."""
    monkeypatch.setattr(dispatcher, "time", SimpleNamespace(monotonic=lambda: NOW))


def demand(slots: int = 4, *, backlog: bool = True) -> Demand:
    return Demand(backlog=backlog, slots=slots, paused=False, max_running=None, max_running_per_tenant=None)


def looked(state: _QueueState, depth: int, took: int, *, slots: int = 4, backlog: bool = True) -> int:
    """The window after another second in which `took` tickets were taken."""
    state.seen_at = NOW - 1.0
    taken = state.taken + took
    _size_window(state, StreamState(depth, taken, None), demand(slots, backlog=backlog))
    return state.window


def test_a_queue_that_has_just_begun_has_tickets_for_every_slot_twice() -> None:
    assert looked(_QueueState(), 0, 0, slots=10, backlog=False) == 20
    assert looked(_QueueState(), 0, 0, slots=0, backlog=False) == 8, "and a few where nobody works yet"


def test_the_window_follows_what_is_taken() -> None:
    state = _QueueState()
    for _ in range(20):
        window = looked(state, 50, 1_000)
    assert window == pytest.approx(1_000 * WINDOW_S)


def test_workers_that_ran_dry_get_more_each_time_up_to_a_bound() -> None:
    state = _QueueState()
    windows = [looked(state, 0, 10) for _ in range(20)]
    assert windows[1] == 4 * windows[0]
    assert windows == sorted(windows)
    assert windows[-1] == WINDOW_LARGEST


def test_slots_that_took_one_long_job_each_have_not_run_dry() -> None:
    state = _QueueState()
    for _ in range(5):
        assert looked(state, 0, 4) == 8


def test_the_window_shrinks_slowly_when_less_is_taken() -> None:
    state = _QueueState(window=4_000)
    assert looked(state, 10, 0) == pytest.approx(2_000)
    for _ in range(20):
        window = looked(state, 10, 0)
    assert window == 8


def test_a_new_conveyor_that_counts_from_nothing_is_no_slowness() -> None:
    state = _QueueState()
    for _ in range(20):
        looked(state, 50, 1_000)
    rate = state.rate
    looked(state, 50, -state.taken)
    assert state.rate == rate


def test_a_shared_queue_whose_conveyor_is_empty_has_not_run_dry() -> None:
    state = _QueueState(window=8)
    _size_window(state, StreamState(0, 0, None), replace(demand(), shared=True))
    assert state.window == 8


@pytest.mark.parametrize(
    ("oldest_age_s", "changes", "may_starve"),
    [
        (None, {}, False),
        (WAITED_S - 0.1, {}, False),
        (WAITED_S, {}, True),
        (WAITED_S, {"paused": True}, False),
        (WAITED_S, {"slots": 0}, False),
        (None, {"shared": True}, True),
        (None, {"max_running": 1}, True),
        (None, {"max_running": 1, "backlog": False}, False),
    ],
)
def test_only_a_queue_where_something_waits_is_looked_at_more_closely(
    oldest_age_s: float | None, changes: dict[str, Any], may_starve: bool
) -> None:
    assert _may_starve(StreamState(1, 0, oldest_age_s), replace(demand(), **changes)) is may_starve
