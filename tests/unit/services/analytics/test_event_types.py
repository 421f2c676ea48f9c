"""Schemas of tenants: what they say holds, and none of them can keep the worker busy."""

from typing import Any

import pytest
from pydantic_core import to_json

from services.analytics.event_types import check_schema, violation
from services.analytics.refusals import SchemaInvalid

SCHEMA = {
    "type": "object",
    "required": ["page"],
    "properties": {"page": {"type": "string"}, "$ref": {"type": "null"}},
}


def test_what_a_schema_says_holds() -> None:
    check_schema(SCHEMA)
    text = to_json(SCHEMA).decode()
    assert violation(text, '{"page": "/"}') is None
    assert violation(text, '{"page": 7}') == "/page must be of the type string."
    assert violation(text, "{}") == "It must have `page`."


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"patternProperties": {"(a+)+$": {}}},
        {"anyOf": [{"items": {"not": {"$dynamicRef": "#a"}}}]},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"unevaluatedProperties": {"pattern": "x"}},
        {"dependentSchemas": {"a": {"pattern": "x"}}},
        {"$schema": "https://example.com/metaschema"},
        {"type": "nothing"},
        {"description": "x" * 20_000},
    ],
)
def test_what_cannot_be_used_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaInvalid):
        check_schema(schema)
