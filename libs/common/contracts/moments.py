"""Moments that callers name."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator


def _in_range(moment: datetime) -> datetime:
    if not 1970 <= moment.year <= 9000:
        raise ValueError("Between the years 1970 and 9000.")
    return moment


def _no_number(value: Any) -> Any:
    # In a query all values are texts, of which a number would be taken for seconds since 1970.
    if isinstance(value, str) and value.lstrip("+-").replace(".", "", 1).isdigit():
        raise ValueError("A time in ISO 8601, such as 2030-12-24T12:00:00Z.")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_no_number), AfterValidator(_in_range)]
"""A time with a zone, in a range that a database can store in any zone."""
