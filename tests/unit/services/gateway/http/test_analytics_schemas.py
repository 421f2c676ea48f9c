"""Documents about events: each field is needed, as callers rely on it."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from services.gateway.http import analytics_schemas

GOOD: dict[str, dict[str, Any]] = {
    "EventsAccepted": {"accepted": 3, "job": "job_1"},
    "EventTypePage": {"types": [], "next_cursor": None},
    "RejectedEvents": {"rejected": [], "next_cursor": None, "not_kept": 0},
}


@pytest.mark.parametrize("name", GOOD)
def test_a_field_left_out_is_noticed(name: str) -> None:
    adapter = TypeAdapter[Any](getattr(analytics_schemas, name))
    assert adapter.validate_python(GOOD[name], strict=True) == GOOD[name]
    for field in GOOD[name]:
        with pytest.raises(ValidationError):
            adapter.validate_python({key: value for key, value in GOOD[name].items() if key != field})
