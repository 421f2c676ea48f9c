"""Members that stand twice: found wherever they are, and nowhere else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.http.json_members import repeated_member

NAMES = st.text(alphabet='ab:"\\{},[]☂', max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": 1, "a": 1}', "a"),
        ('{"a": 1, "\\u0061": 2}', "a"),
        ('{"a": {"b": 1, "c": [{"d": 1}, {"d": 1, "d": 2}]}}', "a.c.1.d"),
        ('[{"": 1, "": 2}]', "0."),
        ('{"a": 1, "b": ":\\"a\\":", "a\\\\": 2}', None),
        ('{"a": {"a": 1}, "b": {"a": 1}}', None),
        ('["a:b", "a:b"]', None),
        ('{"a": 1, "a": ', None),
        ("", None),
        ("7", None),
    ],
)
def test_the_first_one_is_named(text: str, path: str | None) -> None:
    assert repeated_member(text.encode()) == path


@given(VALUES, st.booleans())
def test_what_has_none_is_said_to_have_none(value: Any, ascii_only: bool) -> None:
    assert repeated_member(json.dumps(value, ensure_ascii=ascii_only).encode()) is None


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), VALUES, st.data())
def test_one_more_is_found_however_deep_and_however_written(
    members: dict[str, Any], value: Any, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(members)))
    text = json.dumps(members)[:-1] + f", {json.dumps(name, ensure_ascii=data.draw(st.booleans()))}: "
    text += json.dumps(value) + "}"
    assert repeated_member(text.encode()) == name
    assert repeated_member(f'[0, {{"x": {text}}}]'.encode()) == f"1.x.{name}"
