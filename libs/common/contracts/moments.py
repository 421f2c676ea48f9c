"""Moments: those that callers name, and how they are told of one."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, PlainSerializer, WithJsonSchema


def _in_range(moment: datetime) -> datetime:
    if not 1970 <= moment.year <= 9000:
        raise ValueError("Between the years 1970 and 9000.")
    return moment


def written(moment: datetime) -> str:
    """`moment` in UTC, with Z and six digits of a second: all that PostgreSQL keeps, whatever they are.

    So a time that a caller gives back, to filter by it or to put it again, is the very one that was told.
    """
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(timespec="microseconds")[:26] + "Z"


WRITTEN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
"""What `written` writes."""
_WRITE = PlainSerializer(written, return_type=str, when_used="json")
Moment = Annotated[AwareDatetime, AfterValidator(_in_range), _WRITE]
"""A time with a zone, in a range that a database can store in any zone."""
Told = Annotated[
    datetime,
    _WRITE,
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": WRITTEN}),
]
"""A time in an answer."""
