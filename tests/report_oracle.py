"""Funnels and retention in thirty lines of Python, and histories to try them with."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st

BEGIN = (datetime.now(UTC) - timedelta(days=60)).replace(hour=0, minute=0, second=0, microsecond=0)
END = BEGIN + timedelta(days=30)
WITHIN = timedelta(hours=6)
NAMES = ("a", "b", "c")
Moment = tuple[str, str, int]
"""A subject, the name of what it did, and after how many half hours."""
HISTORIES = st.lists(
    st.tuples(st.sampled_from(("u1", "u2", "u3")), st.sampled_from(NAMES), st.integers(0, 60)), max_size=40
)
STEPS = st.lists(st.sampled_from(NAMES), min_size=2, max_size=4)


def funnel_by_hand(history: list[Moment], steps: list[str]) -> list[int]:
    """How many subjects reached each step."""
    counts = [0] * len(steps)
    by_subject = defaultdict(list)
    for subject, name, half_hours in history:
        if name in steps:
            by_subject[subject].append((half_hours, steps.index(name), name))
    for moments in by_subject.values():
        best = 0
        begun: list[int | None] = [None] * len(steps)  # when the latest chain up to each step began
        for half_hours, _, name in sorted(moments):
            for step in reversed(range(len(steps))):
                if name != steps[step]:
                    continue
                start = half_hours if step == 0 else begun[step - 1]
                if start is not None and half_hours - start <= WITHIN / timedelta(minutes=30):
                    begun[step] = max(start, begun[step] or 0)
                    best = max(best, step + 1)
        for step in range(best):
            counts[step] += 1
    return counts


def retention_by_hand(history: list[Moment], back: str) -> dict[tuple[date, int], int]:
    """How many came back, by the day on which they started and how many days later it was."""
    firsts: dict[str, int] = {}
    for subject, name, half_hours in history:
        if name == "a":
            firsts[subject] = min(half_hours, firsts.get(subject, half_hours))
    came = {
        (subject, half_hours // 48 - firsts[subject] // 48)
        for subject, name, half_hours in history
        if name == back and subject in firsts and half_hours >= firsts[subject]
    }
    counts: defaultdict[tuple[date, int], int] = defaultdict(int)
    for subject, later in came:
        counts[(BEGIN + timedelta(days=firsts[subject] // 48)).date(), later] += 1
    return dict(counts)
