"""A transport that sends a head with the beginning of its body, and closes when nobody takes any more."""

import asyncio
from collections.abc import Iterable

import pytest

from services.gateway.http import transport as transport_module
from services.gateway.http.transport import COPIED_AT_MOST, CoalescingTransport
from tests.polling import until

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Wire(asyncio.Transport):
    """What the operating system is given, and how much of it is not taken."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.left = 0
        self.ended: list[str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.written += list_of_data  # type: ignore[arg-type]

    def get_write_buffer_size(self) -> int:
        return self.left

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended.append("closed")

    def abort(self) -> None:
        self.ended.append("aborted")


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def transport(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> CoalescingTransport:
    monkeypatch.setattr(transport_module, "TAKEN_EVERY_S", 0.01)
    monkeypatch.setattr(transport_module, "LAST_TAKEN_EVERY_S", 0.01)
    return CoalescingTransport(wire, asyncio.get_running_loop())


async def test_a_head_waits_for_its_body(transport: CoalescingTransport, wire: Wire) -> None:
    transport.write(HEAD)
    assert wire.written == []
    transport.write(b"body")
    transport.write(b"more")
    assert wire.written == [HEAD + b"body", b"more"]
    await asyncio.sleep(0)
    assert wire.written == [HEAD + b"body", b"more"], "and is sent once"


async def test_a_head_alone_waits_for_one_turn_of_the_loop(transport: CoalescingTransport, wire: Wire) -> None:
    transport.write(HEAD)
    await asyncio.sleep(0)
    assert wire.written == [HEAD]


async def test_heads_of_pipelined_answers_keep_their_order(transport: CoalescingTransport, wire: Wire) -> None:
    transport.write(HEAD)
    transport.write(HEAD)
    transport.write(b"body")
    await asyncio.sleep(0)
    assert b"".join(wire.written) == HEAD + HEAD + b"body"


async def test_closing_sends_what_waits_first(transport: CoalescingTransport, wire: Wire) -> None:
    transport.write(HEAD)
    transport.close()
    assert (wire.written, wire.ended) == ([HEAD], ["closed"])


async def test_who_takes_nothing_more_is_cut_off(transport: CoalescingTransport, wire: Wire) -> None:
    wire.left = 1000
    transport.close()

    async def is_aborted() -> bool:
        return "aborted" in wire.ended

    await until(is_aborted)


async def test_who_falls_asleep_over_an_answer_is_cut_off(transport: CoalescingTransport, wire: Wire) -> None:
    wire.left = 1000
    transport.watch()

    async def is_aborted() -> bool:
        return "aborted" in wire.ended

    await until(is_aborted)


async def test_who_has_taken_it_all_is_watched_no_more(transport: CoalescingTransport, wire: Wire) -> None:
    wire.left = 1000
    transport.watch()
    transport.unwatch()
    assert transport._watch is None
    wire.left = 0
    transport.close()
    assert (transport._watch, wire.ended) == (None, ["closed"])


async def test_a_large_body_is_not_copied(transport: CoalescingTransport, wire: Wire) -> None:
    body = bytes(COPIED_AT_MOST + 1)
    transport.write(HEAD)
    transport.write(body)
    assert wire.written == [HEAD, body]
    assert wire.written[1] is body


async def test_nothing_is_sent_to_who_has_gone(transport: CoalescingTransport, wire: Wire) -> None:
    transport.write(HEAD)
    wire.ended.append("lost")
    await asyncio.sleep(0)
    transport.write(b"body")
    assert wire.written == []


async def test_who_takes_a_little_each_time_is_not_cut_off(transport: CoalescingTransport, wire: Wire) -> None:
    wire.left, looks = 5, []

    def taking() -> int:
        looks.append(wire.left)
        wire.left = max(0, wire.left - 1)
        return looks[-1]

    wire.get_write_buffer_size = taking  # type: ignore[method-assign]
    transport.close()

    async def is_all_taken() -> bool:
        return looks[-1] == 0

    await until(is_all_taken)
    assert wire.ended == ["closed"]


async def test_everything_else_is_the_transports_own(transport: CoalescingTransport, wire: Wire) -> None:
    wire.left = 7
    assert transport.get_write_buffer_size() == 7
    with pytest.raises(AttributeError):
        _ = transport.no_such_thing
