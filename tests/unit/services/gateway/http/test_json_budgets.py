"""What a JSON text may have, counted before anything is made of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from services.gateway.http.json_budgets import DEPTH_AT_MOST, NUMBER_AT_MOST, VALUES_AT_MOST, check
from services.gateway.problems import BadRequest, TooLarge

TEXT = st.text(alphabet='aZN0I9,[]{}:"\\/\n\té☂😀')
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


def values(document: Any) -> int:
    """How many there are, an empty array or object counted twice, as the budget does."""
    if isinstance(document, dict):
        return 1 + (sum(map(values, document.values())) or 1)
    if isinstance(document, list):
        return 1 + (sum(map(values, document)) or 1)
    return 1


@given(DOCUMENTS, st.booleans())
def test_values_are_counted_exactly_whatever_is_in_the_strings(document: Any, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    check(text, within="body", values_at_most=values(document))
    with pytest.raises(TooLarge) as refused:
        check(text, within="body", values_at_most=values(document) - 1)
    assert refused.value.members == {"max_values": values(document) - 1}


@given(st.binary() | TEXT.map(str.encode))
def test_garbage_is_refused_in_no_other_way(garbage: bytes) -> None:
    try:
        check(garbage, within="body")
    except (BadRequest, TooLarge):
        return


def nested(depth: int) -> bytes:
    return b'{"a":[' * (depth // 2) + b"[" * (depth % 2) + b"]" * (depth % 2) + b"]}" * (depth // 2)


def test_depth_counts_what_is_within_each_other_and_the_parser_goes_as_deep() -> None:
    check(nested(DEPTH_AT_MOST), within="body")
    assert from_json(nested(DEPTH_AT_MOST))
    check(b"[" + b"[[]]," * 1000 + b"1]", within="body")
    check(b'["' + b"[" * 1000 + b'"]', within="body")
    with pytest.raises(TooLarge, match="nested") as refused:
        check(nested(DEPTH_AT_MOST + 1), within="body")
    assert refused.value.members == {"max_depth": DEPTH_AT_MOST}


@pytest.mark.parametrize(
    "number", [b"1" * (NUMBER_AT_MOST + 1), b"1." + b"1" * 1_000_000, b"-" + b"9" * 1_000_000, b"1e" + b"0" * 5000]
)
def test_long_numbers_are_refused_before_they_are_converted(number: bytes) -> None:
    with pytest.raises(TooLarge) as refused:
        check(b"[" + number + b"]", within="body")
    assert refused.value.members == {"max_digits": NUMBER_AT_MOST}


@pytest.mark.parametrize("number", [b"1" * NUMBER_AT_MOST, b"-" + b"9" * 400, b"1e308", b"0." + b"1" * 900])
def test_numbers_that_can_be_read_are_left_alone(number: bytes) -> None:
    check(b'{"a":' + number + b"}", within="body")


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * 8_000_000 + b"1]",
        b'"' * 24_000_000,
        b"[" * 24_000_000,
        b'{"a":' * 4_000_000,
        b'["' + b'","' * 8_000_000 + b'"]',
    ],
    ids=["lists", "quotes", "deep", "objects", "strings"],
)
def test_what_would_become_a_gigabyte_is_refused(text: bytes) -> None:
    with pytest.raises(TooLarge) as refused:
        check(text, within="body")
    assert refused.value.members == {"max_values": VALUES_AT_MOST}


@pytest.mark.parametrize(
    "text",
    [
        b'["' + b"\\\\" * 4_000_000 + b'"]',
        b'["' + b'\\"' * 4_000_000 + b'"]',
        b" " * 8_000_000,
        b'"' + b"," * 8_000_000,
    ],
    ids=["backslashes", "escaped", "spaces", "commas"],
)
def test_length_alone_is_nothing_bad(text: bytes) -> None:
    check(text, within="body")
