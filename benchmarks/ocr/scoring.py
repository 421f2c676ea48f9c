"""How much of a text is right, and how long something took."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the clock, and CPU seconds, user and system, of all processes that were at work."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Took:
    """Do work that starts programs and waits for them. Their CPU counts, and that of this process does not."""
    before, begun = os.times(), time.perf_counter()
    work()
    after, wall = os.times(), time.perf_counter() - begun
    user, system = (
        after.children_user - before.children_user,
        after.children_system - before.children_system,
    )
    return Took(wall, user + system)


def word_f1(found: str, truth: str) -> float:
    """Return the F1 of runs of letters and digits, ignoring case and order."""
    words, wanted = (Counter(re.findall(r"\w+", text.lower())) for text in (found, truth))
    return 2 * (words & wanted).total() / max(1, words.total() + wanted.total())


def character_error_rate(found: str, truth: str) -> float:
    """Return the Levenshtein distance as a share of the truth, 1 at most, ignoring case and spaces."""
    letters, right = ("".join(text.lower().split()) for text in (found, truth))
    return min(1.0, _distance(letters, right) / max(1, len(right)))


def _distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
