"""The bounds within which a connection is read on after its last answer."""

import asyncio
from collections.abc import Callable

import pytest

from services.gateway.http import draining
from services.gateway.http.draining import Drain
from tests.polling import until


class Wire(asyncio.Transport):
    """What is done to the connection."""

    def __init__(self, *, paused: bool = False) -> None:
        super().__init__()
        self.paused = paused
        self.done: list[str] = []

    def write_eof(self) -> None:
        self.done.append("ended")

    def is_reading(self) -> bool:
        return not self.paused

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return "closed" in self.done

    def close(self) -> None:
        self.done.append("closed")


@pytest.fixture
async def drain_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Wire], Drain]:
    monkeypatch.setattr(draining, "CHECK_EVERY_S", 0.01)
    return lambda wire: Drain(wire, asyncio.get_running_loop(), wire.close)


async def closed(wire: Wire) -> None:
    async def is_closed() -> bool:
        return wire.is_closing()

    await until(is_closed)


async def test_the_gateways_side_ends_at_once_and_reading_goes_on(drain_of: Callable[[Wire], Drain]) -> None:
    wire = Wire(paused=True)
    drain_of(wire)
    assert (wire.done, wire.paused) == (["ended"], False)


async def test_who_sends_nothing_more_is_not_waited_for(drain_of: Callable[[Wire], Drain]) -> None:
    wire = Wire()
    drain_of(wire)
    await closed(wire)
    assert wire.done == ["ended", "closed"], "and nothing is done to a closed connection"


async def test_who_goes_on_is_read_until_the_time_is_over(
    drain_of: Callable[[Wire], Drain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "DRAIN_BYTES_PER_S", 0)
    monkeypatch.setattr(draining, "DRAIN_WITHIN_S", 0.1)
    wire, loop = Wire(), asyncio.get_running_loop()
    begun = loop.time()
    drain_of(wire)
    await closed(wire)
    assert loop.time() - begun >= 0.1


async def test_who_trickles_is_cut_off_as_with_a_body(
    drain_of: Callable[[Wire], Drain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "DRAIN_BYTES_PER_S", 1_000_000)  # 10,000 a check
    wire = Wire()
    drain = drain_of(wire)
    drain.received(9_999)
    await closed(wire)


async def test_no_more_is_read_than_an_upload_may_have(
    drain_of: Callable[[Wire], Drain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "CHECK_EVERY_S", 60.0)
    wire = Wire()
    drain = drain_of(wire)
    drain.received(draining.DRAIN_AT_MOST)
    assert not wire.is_closing()
    drain.received(1)
    assert wire.is_closing()
