"""The last line of each key that comes again, by brute force."""

from hypothesis import given
from hypothesis import strategies as st

from services.sync.repeats import last_lines


@given(st.lists(st.none() | st.sampled_from("abcdefgh") | st.text(max_size=3), max_size=30))
def test_it_is_what_brute_force_says(keys: list[str | None]) -> None:
    expected = {
        key: max(number for number, other in enumerate(keys) if other == key)
        for key in set(keys)
        if key is not None and keys.count(key) > 1
    }
    assert last_lines(lambda: keys) == expected
