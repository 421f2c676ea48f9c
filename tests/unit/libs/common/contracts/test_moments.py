"""Moments that a database can store in any zone."""

import pytest
from pydantic import TypeAdapter, ValidationError

from libs.common.contracts.moments import Moment

MOMENT: TypeAdapter[Moment] = TypeAdapter(Moment)


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", "9000-12-31T23:59:59-12:00"])
def test_those_in_range(text: str) -> None:
    assert MOMENT.validate_python(text).tzinfo is not None


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59Z", "9001-01-01T00:00:00Z", "2030-01-01T00:00:00", "soon"])
def test_those_that_are_none(text: str) -> None:
    with pytest.raises(ValidationError):
        MOMENT.validate_python(text)
