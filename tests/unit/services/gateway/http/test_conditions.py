"""Conditional requests, by RFC 9110."""

import pytest

from services.gateway.http.conditions import names_etag


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([], False),
        (["*"], True),
        (['"a"'], True),
        (['W/"a"'], True),
        (['"b", "a"'], True),
        (['"b"', '"a"'], True),
        (['"ab"'], False),
        (["a"], False),
    ],
)
def test_what_if_none_match_names(lines: list[str], named: bool) -> None:
    assert names_etag(lines, '"a"') == named
