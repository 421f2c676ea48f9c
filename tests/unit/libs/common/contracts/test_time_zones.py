"""A time zone is one that means the same everywhere."""

import pytest
from pydantic import TypeAdapter, ValidationError

from libs.common.contracts.time_zones import Zone

ZONE: TypeAdapter[str] = TypeAdapter(Zone)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_zones_of_the_database_are_taken(name: str) -> None:
    assert ZONE.validate_python(name) == name


@pytest.mark.parametrize("name", ["localtime", "Factory", "Mars/Olympus", "../etc/passwd", "", "+01:00"])
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        ZONE.validate_python(name)
