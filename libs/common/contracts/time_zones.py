"""Names of time zones, as callers give them."""

from functools import lru_cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field


def _is_zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("Not a time zone.")
    return name


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """The time zones that mean the same on every machine."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


Zone = Annotated[str, Field(max_length=64, json_schema_extra={"format": "timezone"}), AfterValidator(_is_zone)]
