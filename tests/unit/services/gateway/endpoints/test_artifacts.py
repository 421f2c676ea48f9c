"""Range headers, by RFC 9110."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.endpoints.artifacts import wanted_range
from services.gateway.problems import RangeNotSatisfiable


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=2-", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-99", (5, 10)),
        ("bytes=7-3", None),
        ("bytes=0-1,4-5", None),
        ("items=0-1", None),
        ("bytes=-", None),
    ],
)
def test_ranges(header: str | None, span: tuple[int, int] | None) -> None:
    assert wanted_range(header, 10) == span


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_ranges_outside_the_file(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        wanted_range(header, 10)
    assert refused.value.headers == {"Content-Range": "bytes */10"}


@given(st.text(), st.integers(min_value=0, max_value=10**12))
def test_no_header_breaks_it(header: str, size: int) -> None:
    try:
        span = wanted_range(header, size)
    except RangeNotSatisfiable:
        return
    assert span is None or 0 <= span[0] < span[1] <= size
