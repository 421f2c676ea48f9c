"""Amounts as sources write them."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync.reading.amounts import AmountOutOfRange, amount


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1000, "1000"), (1000.5, "1000.5"), ("1000", "1000"), ("$1,000", "1000"), ("$ 1,000,000.50", "1000000.50"),
        ("USD 5000", "5000"), ("5 000 €", "5000"), ("1.234.567,89 €", "1234567.89"), ("1.234,5", "1234.5"),
        ("12,5", "12.5"), ("US$5", "5"),
        ("1e3", "1000"), (1e3, "1000.0"), ("0", "0"), ("£.5", "0.5"), ("1'000 CHF", "1000"),
    ],
)  # fmt: skip
def test_amounts(value: Any, expected: str) -> None:
    assert amount(value) == (expected, False)


@pytest.mark.parametrize("value", [None, "", "N/A", "TBD"])
def test_no_amount(value: Any) -> None:
    assert amount(value) == (None, False)


@pytest.mark.parametrize(
    "value",
    [
        "Between $5 and $10",
        "up to 40 %",
        True,
        [],
        {},
        "1,00,000,0",
        "May not exceed $4,000,000",
        "1/2",
        "x" * 999,
    ],
)
def test_sentences_are_doubtful(value: Any) -> None:
    assert amount(value) == (None, True)


@pytest.mark.parametrize(
    "value", ["1e999", 1e16, "-5", -1, float("nan"), float("inf"), "NaN", "1e-999", 10**40, "-Infinity"]
)
def test_numbers_that_are_no_amounts(value: Any) -> None:
    with pytest.raises(AmountOutOfRange):
        amount(value)


@given(st.decimals(0, 10**15, places=2))
def test_every_decimal_is_read(number: Decimal) -> None:
    for text in (f"{number:f}", f"${number:,.2f}", f"{number:,.2f} EUR"):
        found, doubtful = amount(text)
        assert not doubtful
        assert Decimal(found or "nan") == number


@given(st.one_of(st.text(max_size=70), st.text("0123456789.,eE+-$' ", max_size=30), st.floats(), st.integers()))
def test_nothing_else_happens(value: Any) -> None:
    try:
        found, _ = amount(value)
    except AmountOutOfRange:
        return
    assert found is None or 0 <= Decimal(found) <= 10**15
