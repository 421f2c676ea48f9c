"""Questions over NATS to the service that owns the answer."""

import pytest

from libs.common import rpc
from libs.common.bus import Bus
from libs.common.errors import Reject, Unavailable


class NoSuchTide(Reject):
    """There is no such tide."""


async def measure(tenant: str, request: rpc.Document, deps: dict[str, int]) -> rpc.Document:
    deps["asked"] += 1
    if "tide" not in request:
        raise NoSuchTide
    return {"of": tenant, "height": request["tide"]}


async def test_a_question_is_answered_with_numbers_of_any_size(nats_bus: Bus, queue: str) -> None:
    deps = {"asked": 0}
    async with nats_bus.serving(rpc.subject_pattern(queue), rpc.serve({"measure": measure}, deps)):
        answer = await rpc.call(nats_bus, queue, "measure", "dev", {"tide": 2**100})
    assert answer == {"of": "dev", "height": 2**100}


async def test_a_refusal_comes_with_its_reason(nats_bus: Bus, queue: str) -> None:
    async with nats_bus.serving(rpc.subject_pattern(queue), rpc.serve({"measure": measure}, {"asked": 0})):
        with pytest.raises(rpc.RpcError, match="There is no such tide") as refused:
            await rpc.call(nats_bus, queue, "measure", "dev", {})
    assert refused.value.reason == "no_such_tide"


async def test_a_question_that_is_too_long_is_not_sent(nats_bus: Bus, queue: str) -> None:
    deps = {"asked": 0}
    frame = len(b'{"tenant":"dev"}\n{"tide":""}')
    longest = "x" * (rpc.REQUEST_BYTES_AT_MOST - frame)
    async with nats_bus.serving(rpc.subject_pattern(queue), rpc.serve({"measure": measure}, deps)):
        with pytest.raises(rpc.RequestTooLong):
            await rpc.call(nats_bus, queue, "measure", "dev", {"tide": longest + "x"})
        assert deps["asked"] == 0
        assert (await rpc.call(nats_bus, queue, "measure", "dev", {"tide": longest}))["height"] == longest


async def test_a_service_that_is_away_is_unavailable_at_once(nats_bus: Bus, queue: str) -> None:
    async with nats_bus.listening("anything", lambda _: None):  # connected
        with pytest.raises(Unavailable, match="No process serves"):
            await rpc.call(nats_bus, queue, "measure", "dev", {})
