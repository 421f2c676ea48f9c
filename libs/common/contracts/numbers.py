"""JSON has one kind of number: 8 and 8.0 are the same, and whole (JSON Schema 2020-12, 4.2.3)."""

from typing import Any

from pydantic import BeforeValidator


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""For a field of whole numbers, after its bounds: takes 8.0 for 8 where types are strict."""
