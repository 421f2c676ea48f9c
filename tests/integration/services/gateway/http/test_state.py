"""What every request can reach is there before the first one."""

from typing import get_type_hints

import pytest

from services.gateway.http.state import GatewayState
from tests.integration.services.gateway.gateway import Gateway

NAMES = sorted(GatewayState.__annotations__)


@pytest.mark.parametrize("name", NAMES)
async def test_every_part_is_open_and_what_its_type_says(gateway: Gateway, name: str) -> None:
    kind = get_type_hints(GatewayState)[name]
    assert isinstance(getattr(gateway.app.state, name), getattr(kind, "__origin__", kind))


async def test_nothing_is_there_that_has_no_type(gateway: Gateway) -> None:
    assert set(gateway.app.state._state) == set(NAMES)
