"""Moments that callers name."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def _in_range(moment: datetime) -> datetime:
    if not 1970 <= moment.year <= 9000:
        raise ValueError("Between the years 1970 and 9000.")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
"""A time with a zone, in a range that a database can store in any zone."""
