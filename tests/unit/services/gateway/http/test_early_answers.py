"""An answer waits for the rest of a small body, and for nothing else."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from services.gateway.http import early_answers
from services.gateway.http.early_answers import REST_AT_MOST, EarlyAnswers


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class Connection:
    """A client that sends `parts` and no more, and what has been read when the answer began."""

    def __init__(self, *parts: Message) -> None:
        self._parts = list(parts)
        self.read: list[Message] = []
        self.read_before_answer: list[Message] | None = None

    async def receive(self) -> Message:
        if not self._parts:
            await asyncio.Event().wait()
        self.read.append(self._parts.pop(0))
        return self.read[-1]

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.read_before_answer = list(self.read)

    async def refused(self, *headers: tuple[bytes, bytes], reads: int = 0) -> int:
        """How many messages had been read when an application answered that reads `reads` of them."""

        async def app(_scope: Scope, receive: Receive, send: Send) -> None:
            for _ in range(reads):
                await receive()
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body"})

        scope: dict[str, Any] = {"type": "http", "headers": list(headers)}
        await EarlyAnswers(app)(scope, self.receive, self.send)
        assert self.read_before_answer is not None
        return len(self.read_before_answer)


CHUNKED = (b"transfer-encoding", b"chunked")


def length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", str(size).encode()


@pytest.mark.parametrize(
    "framing", [length(6), length(REST_AT_MOST), CHUNKED], ids=["small", "largest", "chunked"]
)
@pytest.mark.parametrize("reads", [0, 1, 2])
async def test_the_rest_of_a_small_body_is_read_first(framing: tuple[bytes, bytes], reads: int) -> None:
    connection = Connection(part(b"abc"), part(b"def", more=False))
    assert await connection.refused(framing, reads=reads) == 2


@pytest.mark.parametrize(
    "headers",
    [[length(REST_AT_MOST + 1)], [length(6), (b"expect", b"100-continue")], [length(0)], []],
    ids=["large", "not yet sent", "empty", "none"],
)
async def test_no_other_body_is_waited_for(headers: list[tuple[bytes, bytes]]) -> None:
    assert await Connection(part(b"abc")).refused(*headers) == 0


async def test_a_body_of_unknown_length_is_read_until_it_is_no_longer_small() -> None:
    connection = Connection(*[part(bytes(REST_AT_MOST // 4))] * 9)
    assert await connection.refused(CHUNKED) == 4


async def test_who_has_left_is_not_waited_for() -> None:
    connection = Connection(part(b"a"), {"type": "http.disconnect"})
    assert await connection.refused(length(6)) == 2


async def test_a_body_that_does_not_come_holds_no_answer_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_answers, "REST_WITHIN_S", 0.01)
    assert await Connection(part(b"a")).refused(length(6)) == 1


async def test_what_is_no_request_passes() -> None:
    passed: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        passed.append(scope)

    connection = Connection()
    await EarlyAnswers(app)({"type": "lifespan"}, connection.receive, connection.send)
    assert passed == [{"type": "lifespan"}]
