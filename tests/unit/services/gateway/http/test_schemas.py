"""Documents of the API: each is described, and named once."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from services.gateway.http import analytics_schemas, schemas
from services.gateway.http.openapi import document
from services.gateway.routes import OPERATIONS

EVERY = {
    name: kind
    for module in (schemas, analytics_schemas)
    for name, kind in vars(module).items()
    if is_typeddict(kind) and kind.__module__ == module.__name__
}
REQUESTS = {
    kind.__name__
    for one in OPERATIONS
    for kind in (one.body, one.multipart, one.query, *one.other_bodies.values())
    if kind is not None
}
API = document(OPERATIONS)


@pytest.mark.parametrize("name", EVERY)
def test_a_document_is_described_and_part_of_the_api(name: str) -> None:
    assert (EVERY[name].__doc__ or "").strip()
    assert API["components"]["schemas"][name]["description"]


def test_no_request_has_the_name_of_a_document() -> None:
    """They would be one schema in /openapi.json, under a name made up to tell them apart."""
    assert not REQUESTS & set(EVERY)
    assert not [name for name in API["components"]["schemas"] if "__" in name or "-" in name]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (schemas.Progress, {"done": 1, "total": None, "note": None, "seconds_left": None}, {"done": 1}),
        (schemas.JobFailure, {}, {"attempt": "first"}),
        (schemas.QueueDepth, {"scheduled": 0, "queued": 0, "running": 0, "waiting": 0}, {"scheduled": 0}),
        (schemas.Token, {"access_token": "x", "token_type": "Bearer", "expires_in": 1}, {"token_type": "Basic"}),
        (schemas.TenantLimits, {"tenant": "a", "limits": {"api": "1/s"}}, {"tenant": "a", "limits": {"api": 1}}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_field_left_out_is_noticed(kind: Any, good: dict[str, Any], bad: dict[str, Any]) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(good, strict=True) == good
    with pytest.raises(ValidationError):
        adapter.validate_python(bad, strict=True)
