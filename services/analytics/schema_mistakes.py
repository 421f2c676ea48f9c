"""What is wrong with a document by its JSON Schema, in our words: jsonschema's speak of Python."""

from collections.abc import Callable
from typing import Any, TypeAlias

from pydantic_core import to_json

Mistake: TypeAlias = Any
"""A ValidationError or SchemaError of jsonschema, which has no types."""
CHARACTERS_AT_MOST = 500
"""Of what is told."""
_PLAIN = {
    "minimum": "must be {} or more",
    "maximum": "must be {} or less",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have {} characters or more",
    "maxLength": "may have {} characters at most",
    "minItems": "must have {} entries or more",
    "maxItems": "may have {} entries at most",
    "minContains": "must have {} entries or more that fit `contains`",
    "maxContains": "may have {} entries at most that fit `contains`",
    "minProperties": "must have {} members or more",
    "maxProperties": "may have {} members at most",
    "const": "must be {}",
}
"""What there may be, by the keyword that is violated; in braces its value."""


def told(error: Mistake) -> str:
    """Where a document violates its schema, as a JSON Pointer, and what there may be."""
    path = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error.absolute_path)
    return f"{path or 'It'} {_what_may_be(error)}."[:CHARACTERS_AT_MOST]


def _what_may_be(error: Mistake) -> str:
    keyword, wanted = str(error.validator), error.validator_value
    if words := _PLAIN.get(keyword):
        return words.format(_json(wanted))
    return _SPECIAL.get(keyword, lambda _error: f"does not fit the keyword `{keyword}` of the schema")(error)


def _types(error: Mistake) -> str:
    wanted = error.validator_value
    return f"must be of the type {' or '.join(wanted) if isinstance(wanted, list) else wanted}"


def _missing(error: Mistake) -> str:
    return f"must have {_listed(name for name in error.validator_value if name not in error.instance)}"


def _unknown(error: Mistake) -> str:
    known = error.schema.get("properties", {})
    return f"must not have {_listed(name for name in error.instance if name not in known)}"


def _branches(error: Mistake) -> str:
    """What each of several schemas wants of the value itself; what they want within it would need its place."""
    wanted = (_what_may_be(one) for one in error.context if not one.relative_path)
    return " or ".join(dict.fromkeys(wanted)) or "fits none of the schemas that it may"


_SPECIAL: dict[str, Callable[[Mistake], str]] = {
    "type": _types,
    "required": _missing,
    "additionalProperties": lambda error: (
        _unknown(error) if isinstance(error.instance, dict) else "has a member that must not be there"
    ),
    "anyOf": _branches,
    "enum": lambda error: f"must be one of {', '.join(map(_json, error.validator_value))}",
    "uniqueItems": lambda _error: "must not have the same entry twice",
}


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _json(value: Any) -> str:
    return to_json(value, inf_nan_mode="constants").decode()
