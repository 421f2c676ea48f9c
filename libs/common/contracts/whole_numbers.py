"""Whole numbers in JSON: 8 and 8.0 are the same whole number (JSON Schema 2020-12, 4.2.3)."""

from typing import Any

from pydantic import BeforeValidator


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""A validator for integer fields, to be written after the bounds: it accepts 8.0 as 8 where types are strict."""
