"""Funnels and retention are read off histories as brute force reads them, in whatever order events come."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.analytics import histories
from services.analytics.histories import EPOCH, Histories
from tests.report_oracle import BEGIN, HISTORIES, NAMES, STEPS, WITHIN, Moment, funnel_by_hand, retention_by_hand

DAYS = [BEGIN + timedelta(days=day) for day in range(5)]


def sent(history: Sequence[Moment], names: Sequence[str]) -> Histories:
    """As PostgreSQL sends the events that have one of `names`."""
    rows = [(subject, name, hours) for subject, name, hours in history if name in names]
    subjects = b"".join(hash(subject).to_bytes(8, "big", signed=True) for subject, _, _ in rows)
    moments = b"".join(
        microseconds(BEGIN + timedelta(minutes=30) * hours).to_bytes(8, "big") for _, _, hours in rows
    )
    places = b"".join((names.index(name) + 1).to_bytes(2, "big") for _, name, _ in rows)
    return histories.histories(subjects, moments, places)


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@given(history=HISTORIES, steps=STEPS)
def test_funnels_are_those_of_brute_force(history: list[Moment], steps: list[str]) -> None:
    assert histories.funnel(sent(history, steps), steps, WITHIN) == funnel_by_hand(history, steps)


@given(history=HISTORIES, back=st.sampled_from(NAMES))
def test_retention_is_that_of_brute_force(history: list[Moment], back: str) -> None:
    found: dict[Any, int] = dict(histories.retention(sent(history, ("a", back)), "a", back, DAYS))
    started = [number for (_, later), number in found.items() if later == histories.STARTED]
    came = {
        (DAYS[period - 1].date(), later): number
        for (period, later), number in found.items()
        if later != histories.STARTED
    }
    assert came == retention_by_hand(history, back)
    assert sum(started) == len({subject for subject, name, _ in history if name == "a"})


def test_events_of_a_subject_are_together_and_in_order() -> None:
    found = sent([("u2", "b", 1), ("u1", "a", 2), ("u2", "a", 1), ("u1", "b", 0)], ("a", "b"))
    assert found.subject.tolist() == [0, 0, 1, 1]
    assert found.begins.tolist() == [0, 0, 2, 2]
    assert sorted((found.place[:2].tolist(), found.place[2:].tolist())) == [[1, 2], [2, 1]]
