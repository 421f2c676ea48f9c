"""A sketch depends on the set of its subjects, and on nothing else."""

import random

from hypothesis import given
from hypothesis import strategies as st

from services.analytics.sketches import EMPTY, ERROR, estimate, sketch_of


def test_an_empty_one_has_nobody() -> None:
    assert estimate([EMPTY]) == 0
    assert estimate([]) == 0


@given(st.sets(st.integers(0, 100_000), max_size=3_000), st.randoms(use_true_random=False))
def test_order_repetitions_and_parts_do_not_matter(numbers: set[int], chance: random.Random) -> None:
    subjects = [f"u{number}" for number in numbers]
    again = [*subjects, *subjects[: len(subjects) // 2]]
    chance.shuffle(again)
    grown = EMPTY
    for begin in range(0, len(again), 700):
        grown = sketch_of(again[begin : begin + 700], grown)
    assert estimate([grown]) == estimate([sketch_of(subjects)]) == estimate([grown, sketch_of(subjects)])


def test_the_error_is_what_is_said() -> None:
    errors = []
    for seed in range(30):
        found = estimate([sketch_of(f"{seed}:{number}" for number in range(20_000))])
        errors.append(found / 20_000 - 1)
    assert (sum(error**2 for error in errors) / len(errors)) ** 0.5 < 1.4 * ERROR
    assert max(map(abs, errors)) < 4 * ERROR
    assert any(errors)


def test_it_has_four_kilobytes() -> None:
    assert len(sketch_of(str(number) for number in range(50_000))) < 4_200
