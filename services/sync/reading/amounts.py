"""Amounts of money, as sources write them."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from services.sync.reading.dates import NO_DATE

AT_MOST = Decimal(10) ** 15
_AROUND = re.compile(
    r"(?:[A-Za-z]{3}|[A-Za-z]{0,2}[$€£¥₹])?\s*([+-]?)\s*[$€£¥₹]?\s*([\d.,'  _]*\d(?:[eE][+-]?\d{1,6})?)"
    r"\s*(?:[A-Za-z]{3}|[$€£¥₹])?"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:[,'  _]\d{3})+(?:\.\d+)?")
_CONTINENTAL = re.compile(r"\d{1,3}(?:[.  ]\d{3})+,\d{1,2}|\d{1,3}(?:\.\d{3}){2,}|\d+,\d{1,2}")
_PLAIN = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,6})?")


class AmountOutOfRange(ValueError):
    """The number is no amount of money."""


def amount(value: Any) -> tuple[str | None, bool]:
    """The amount as a decimal number, and whether there was one that cannot be read, such as a sentence.

    Raises AmountOutOfRange for numbers that are negative, not finite or more than 10^15.
    """
    if value is None or isinstance(value, bool):
        return None, value is not None
    if isinstance(value, int | float):
        return _decimal(repr(value)), False
    if not isinstance(value, str):
        return None, True
    text = value.strip()
    if text.casefold() in NO_DATE:
        return None, False
    found = _AROUND.fullmatch(text) if len(text) <= 60 else None
    number = _unpunctuated(found[2].strip()) if found else None
    if number is None:
        if text.casefold().lstrip("+-") in ("nan", "inf", "infinity"):
            raise AmountOutOfRange
        return None, True
    return _decimal((found[1] if found else "") + number), False


def _unpunctuated(text: str) -> str | None:
    if _PLAIN.fullmatch(text):
        return text
    if _THOUSANDS.fullmatch(text):
        return re.sub(r"[,'  _]", "", text)
    if _CONTINENTAL.fullmatch(text):
        return re.sub(r"[.  ]", "", text).replace(",", ".")
    return None


def _decimal(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise AmountOutOfRange from None
    if not number.is_finite() or not 0 <= number <= AT_MOST or len(text) > 40 or number.adjusted() < -20:
        raise AmountOutOfRange
    return f"{number:f}"
