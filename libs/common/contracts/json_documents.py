"""Documents that cross the wire as JSON: all times in them are written in one way."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from pydantic_core import to_json

from libs.common.contracts.moments import written


def encoded(document: Mapping[str, Any] | list[dict[str, Any]]) -> bytes:
    """`document` as JSON, with whole numbers of any size."""
    try:
        return orjson.dumps(document, default=_other, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError:  # orjson has no integers beyond 64 bits, but a stored document may have
        return to_json(_with_times(document))


def _other(value: object) -> str:
    if isinstance(value, datetime):
        return written(value)
    raise TypeError


def _with_times(value: Any) -> Any:
    """`value` with its times as they are written."""
    if isinstance(value, Mapping):
        return {name: _with_times(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_times(item) for item in value]
    return written(value) if isinstance(value, datetime) else value
