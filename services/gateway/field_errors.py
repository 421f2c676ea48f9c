"""What is wrong with a field, in our own words: pydantic's speak of Python, and change with its versions."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

AT_MOST = 100
"""Invalid fields that one answer names. There may be a quarter of a million."""
NAME_AT_MOST = 200
"""Characters of a field's name in an answer. Callers make them up."""
OUTSIDE_JSON = ("file", "header", "path", "query")
"""Where fields are to which no JSON Pointer leads."""

_KINDS = {
    "required": {"missing": "This is required."},
    "unknown": {"extra_forbidden": "There is no such field."},
    "wrong_type": {
        "string_type string_sub_type string_unicode": "This must be a text.",
        "int_type int_parsing int_from_float int_parsing_size": "This must be a whole number.",
        "float_type float_parsing": "This must be a number.",
        "bool_type bool_parsing": "This must be true or false.",
        "list_type tuple_type set_type iterable_type": "This must be a list.",
        "dict_type mapping_type model_type model_attributes_type": "This must be an object.",
        "none_required": "This must be null or left out.",
    },
    "too_short": {
        "string_too_short": "This must have {min_length} characters or more.",
        "too_short": "This must have {min_length} entries or more.",
    },
    "too_long": {
        "string_too_long": "This may have {max_length} characters at most.",
        "too_long": "This may have {max_length} entries at most.",
    },
    "too_small": {
        "greater_than": "This must be more than {gt}.",
        "greater_than_equal": "This must be {ge} or more.",
    },
    "too_large": {
        "less_than": "This must be less than {lt}.",
        "less_than_equal": "This must be {le} or less.",
    },
    "wrong_format": {
        "string_pattern_mismatch": "This must match the regular expression {pattern}",
        "timezone_aware datetime_type datetime_parsing datetime_from_date_parsing datetime_object_invalid": (
            "This must be a time with its zone, such as 2030-12-24T12:00:00Z."
        ),
        "date_type date_parsing date_from_datetime_parsing date_from_datetime_inexact": (
            "This must be a day, such as 2030-12-24."
        ),
        "uuid_type uuid_parsing": "This must be a UUID.",
        "finite_number": "This must be a number that is not infinite.",
    },
    "not_one_of": {
        "literal_error enum": "This must be one of {expected}.",
        "union_tag_invalid": "`{discriminator}` must be one of {expected}.",
        "union_tag_not_found": "`{discriminator}` must say which kind this is.",
    },
}
_WORDS = {
    kind: (code, words)
    for code, kinds in _KINDS.items()
    for names, words in kinds.items()
    for kind in names.split()
}
_OWN = "not_allowed"
"""The code of what is refused by a check of our own, whose message is in our words."""


def field_errors(error: ValidationError, *, within: str, document: Any = None) -> tuple[int, list[dict[str, str]]]:
    """The number of invalid fields, and the first AT_MOST of them, without their values.

    `document` is what was read. Without it, the names of a union's branches are taken for those of fields.
    """
    found = error.errors(include_url=False, include_input=False)
    errors: dict[tuple[int | str, ...], dict[str, str]] = {}
    for item in found:
        path = item["loc"] if document is None else _path(item["loc"], document, item["type"] == "missing")
        if path not in errors and len(errors) == AT_MOST:
            return len(found), list(errors.values())
        field = ".".join([within, *map(str, path)])[:NAME_AT_MOST]
        code, message = _explained(item["type"], item.get("ctx", {}))
        known = errors.setdefault(path, field_error(field, message, code=code, path=path))
        if message not in known["message"]:  # another branch of a union, which cannot take it either
            known["message"] += f" Or: {message}"
    return len(errors), list(errors.values())


def field_error(
    field: str, message: str, *, code: str = _OWN, path: Iterable[object] | None = None
) -> dict[str, str]:
    """One entry of `errors`: where it is, also as a JSON Pointer (RFC 6901), what it is and what it must be."""
    within, *parts = field.split(".")
    entry = {"field": field, "code": code, "message": message}
    if within not in OUTSIDE_JSON:
        escaped = [str(part).replace("~", "~0").replace("/", "~1") for part in (parts if path is None else path)]
        entry["pointer"] = "".join(f"/{part}" for part in escaped)[:NAME_AT_MOST]
    return entry


def not_json(said: object) -> str:
    """Where a text stops being JSON, from what the parser says of it: its error, or the message."""
    place = re.search(r"line (\d+) column (\d+)", str(said))
    return f"it cannot be read beyond line {place[1]}, column {place[2]}." if place else "it cannot be read."


def _path(loc: tuple[int | str, ...], document: Any, is_missing: bool) -> tuple[int | str, ...]:
    """The part of `loc` that leads through `document`: the rest names branches of unions."""
    path, here = list[int | str](), document
    for number, part in enumerate(loc):
        if _leads_to(here, part):
            path.append(part)
            here = here[part]
        elif is_missing and number == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _leads_to(document: Any, part: int | str) -> bool:
    """Whether there is a member of that name, or an entry at that place."""
    if isinstance(document, list):
        return isinstance(part, int) and part < len(document)
    return isinstance(document, dict) and part in document


def _explained(kind: str, context: Mapping[str, Any]) -> tuple[str, str]:
    """The code and the sentence for an error of pydantic's."""
    if kind == "value_error":
        return _OWN, str(context["error"])
    code, words = _WORDS.get(kind, (_OWN, "This cannot be taken."))
    expected = ", ".join(re.findall("'([^']*)'", str(context.get("expected_tags") or context.get("expected", ""))))
    known = {"expected": expected, **{key: value for key, value in context.items() if key != "expected"}}
    known["discriminator"] = str(context.get("discriminator", "")).strip("'")
    return code, words.format(**known)
