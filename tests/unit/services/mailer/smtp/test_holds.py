"""A relay that refuses is left alone for longer each time, and what was under way does not count twice."""

import pytest

from services.mailer.smtp import holds
from services.mailer.smtp.dialogue import Phase, Reply
from services.mailer.smtp.holds import BRIEF, LONG, Hold
from tests.unit.services.mailer.stopped_clock import StoppedClock, stop_clock

REPLY = Reply(Phase.AUTH, 535, "5.7.8 no")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    return stop_clock(monkeypatch, holds)


def test_the_wait_doubles_with_each_failure_up_to_a_bound(clock: StoppedClock) -> None:
    hold, waits = Hold(), []
    for _ in range(8):
        assert hold.begin(BRIEF, REPLY)
        waits.append(hold.left_s)
        assert not hold.begin(BRIEF, REPLY), "under way when the first failed"
        clock.now += hold.left_s
        assert (hold.is_on, hold.is_on_trial) == (False, True)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    hold.end()
    assert not hold.is_on_trial
    hold.begin(BRIEF, REPLY)
    assert hold.left_s == 1


def test_a_refusal_weighs_more_than_a_failure_that_may_pass(clock: StoppedClock) -> None:
    hold = Hold()
    hold.begin(BRIEF, REPLY)
    assert hold.begin(LONG, REPLY)
    assert hold.left_s == LONG.first_s
    assert not hold.begin(BRIEF, REPLY)
    for _ in range(8):
        clock.now += hold.left_s
        hold.begin(LONG, REPLY)
    assert hold.left_s == LONG.most_s


def test_a_login_is_refused_less_often_than_locks_an_account(clock: StoppedClock) -> None:
    hold, tries = Hold(), []
    while clock.now < 1000.0 + 3600:
        hold.begin(LONG, REPLY)
        tries.append(clock.now)
        clock.now += hold.left_s
    assert max(sum(begin <= at < begin + 900 for at in tries) for begin in tries) < 5
    assert len(tries) <= 5
