"""What is wrong with an event or a schema is told in our words, with its place."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator, SchemaError

from services.analytics.schema_mistakes import CHARACTERS_AT_MOST, told

MISTAKES: list[tuple[dict[str, Any], Any, str]] = [
    ({"type": "string"}, 7, "/a must be of the type string."),
    ({"type": ["string", "null"]}, 7, "/a must be of the type string or null."),
    ({"required": ["b", "c"]}, {"b": 1}, "/a must have `c`."),
    ({"properties": {"b": {}}, "additionalProperties": False}, {"b": 1, "d": 2}, "/a must not have `d`."),
    ({"enum": ["x", 1, None]}, "y", '/a must be one of "x", 1, null.'),
    ({"const": True}, "y", "/a must be true."),
    ({"minimum": 3}, 1, "/a must be 3 or more."),
    ({"exclusiveMaximum": 3}, 3, "/a must be less than 3."),
    ({"multipleOf": 3}, 4, "/a must be a multiple of 3."),
    ({"maxLength": 2}, "abc", "/a may have 2 characters at most."),
    ({"items": {"properties": {"x/y": {"minItems": 1}}}}, [{"x/y": []}], "/a/0/x~1y must have 1 entries or more."),
    ({"uniqueItems": True}, [1, 1], "/a must not have the same entry twice."),
    ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, 1, "/a must be of the type string or must be 3 or more."),
    ({"anyOf": [{"items": {"type": "string"}}]}, [1], "/a fits none of the schemas that it may."),
    ({"not": {}}, 1, "/a does not fit the keyword `not` of the schema."),
]


@pytest.mark.parametrize(("schema", "value", "sentence"), MISTAKES, ids=lambda value: str(value)[:30])
def test_each_keyword_has_a_sentence(schema: dict[str, Any], value: Any, sentence: str) -> None:
    validator = Draft202012Validator({"properties": {"a": schema}})
    assert told(next(iter(validator.iter_errors({"a": value})))) == sentence


def test_what_is_no_schema() -> None:
    with pytest.raises(SchemaError) as refused:
        Draft202012Validator.check_schema({"properties": {"a": {"minLength": "2"}}})
    assert told(refused.value) == "/properties/a/minLength must be of the type integer."
    with pytest.raises(SchemaError) as refused:
        Draft202012Validator.check_schema({"type": "objekt"})
    assert told(refused.value).startswith('/type must be one of "array", "boolean", "integer", "null"')


def test_what_is_told_is_short() -> None:
    validator = Draft202012Validator({"enum": ["x" * 1000]})
    assert len(told(next(iter(validator.iter_errors(1))))) == CHARACTERS_AT_MOST
