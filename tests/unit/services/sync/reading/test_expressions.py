"""JMESPath, and the short way for names."""

from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync.reading.expressions import ExpressionFailed, find, needs_only_ends, plain_path

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
)


@given(st.lists(NAMES, min_size=1, max_size=4), VALUES)
def test_the_short_way_finds_the_same(names: list[str], value: Any) -> None:
    expression = ".".join(names)
    assert plain_path(expression) == tuple(names)
    assert find(expression)(value) == jmespath.search(expression, value)


@pytest.mark.parametrize("expression", ["a[0]", "a || b", "a[?b]", "@", "length(a)", "a.*", "{a: b}", "'a'"])
def test_more_than_names(expression: str) -> None:
    assert plain_path(expression) is None
    assert find(expression)({"a": "x", "b": "y"}) == jmespath.search(expression, {"a": "x", "b": "y"})


@pytest.mark.parametrize("expression", ["a[", "", "a..b", "unknown(a)", "(" * 500, "a.b c"])
def test_what_is_not_jmespath(expression: str) -> None:
    with pytest.raises(ExpressionFailed):
        find(expression)({"a": "x"})


@pytest.mark.parametrize("expression", ["length(a)", "sum(a)", "to_number(a).b[?c < `1`] | sum(@)"])
def test_what_cannot_be_applied(expression: str) -> None:
    with pytest.raises(ExpressionFailed):
        find(expression)({"a": 1})


@pytest.mark.parametrize(
    ("expression", "enough"),
    [
        ("next", True),
        ("meta.next || meta.after", True),
        ("data.items[-1].id", True),
        ("data.items[0].id", True),
        ("data.items[1].id", False),
        ("length(data.items)", False),
        ("max_by(data.items, &id).id", False),
    ],
)
def test_whether_the_first_and_last_record_are_enough(expression: str, enough: bool) -> None:
    assert needs_only_ends(expression, ("data", "items")) is enough


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("a.b ]", "It cannot be read from here: `]`."),
        ("a[", "It ends too early: `a[`."),
        ("a ~ b", "It cannot be read from here: `~ b`."),
        ("shout(a)", "It calls a function that there is not."),
        ("length(a, a)", "`length` takes another number of arguments."),
        ("length(`1`)", "`length` is given a value of another type than string, array, object."),
        ("(" * 5000 + "a" + ")" * 5000, "It is nested too deeply, or has a number that is too long."),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_wrong_with_an_expression_is_told(expression: str, sentence: str) -> None:
    with pytest.raises(ExpressionFailed) as failed:
        find(expression)({"a": []})
    assert str(failed.value) == sentence
