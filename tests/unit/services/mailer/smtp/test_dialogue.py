"""What an answer means, and what a relay hears: over a connection to a server that says what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mailer.smtp.dialogue import REPLY_BYTES_AT_MOST, Dialogue, Envelope, Phase, Reply, SmtpWire

FINE = {"MAIL": "250 fine", "RCPT": "250 fine", "DATA": "354 go on", ".": "250 2.0.0 taken", "RSET": "250 fine"}
PIPELINING = frozenset({"pipelining"})
ENVELOPE = Envelope("office@argosy.test", "ada@example.test", b"Subject: x\r\n\r\nHigh water\r\n")


class Server:
    """Answers commands as `answers` says, by their first word; `.`: the end of the data; from "" on not at all."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = FINE | answers
        self.heard: list[str] = []
        """Commands."""
        self._is_silent = False
        self.content = b""
        """Of the message, as it was sent, but for its end."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while command := (await reader.readline()).decode().rstrip("\r\n"):
            name = command.split(" ")[0].partition(":")[0]
            self.heard.append(command)
            await self._answer(writer, name)
            if name == "DATA" and self.answers[name].startswith("354"):
                while (line := await reader.readline()) not in (b".\r\n", b""):
                    self.content += line
                if line:
                    self.heard.append(".")
                    await self._answer(writer, ".")
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, name: str) -> None:
        self._is_silent = self._is_silent or not self.answers[name]
        if self.answers[name] == "hang up":
            writer.close()
        elif not self._is_silent:
            writer.write(f"{self.answers[name]}\r\n".encode())


@asynccontextmanager
async def talking(
    server: Server, extensions: frozenset[str] = PIPELINING, *, timeout_s: float = 60.0
) -> AsyncIterator[Dialogue]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)
    dialogue = Dialogue(SmtpWire(transport), extensions, timeout_s)
    try:
        yield dialogue
    finally:
        transport.abort()
        listening.close()
        await listening.wait_closed()


async def nothing() -> None:
    """Nothing to be done before the end."""


@pytest.mark.parametrize(
    ("phase", "code", "accepted", "in_doubt", "refused"),
    [
        (Phase.END, 250, True, False, False),
        (Phase.END, 0, False, True, False),
        (Phase.END, 354, False, True, False),
        (Phase.END, None, False, True, False),
        (Phase.END, 451, False, False, False),
        (Phase.END, 554, False, False, True),
        (Phase.RCPT, 550, False, False, True),
        (Phase.RCPT, None, False, False, False),
        (Phase.BODY, None, False, False, False),
    ],
)
def test_what_an_answer_means(
    phase: Phase, code: int | None, accepted: bool, in_doubt: bool, refused: bool
) -> None:
    reply = Reply(phase, code, "")
    assert (reply.accepted, reply.in_doubt, reply.refused) == (accepted, in_doubt, refused)


@pytest.mark.parametrize(
    ("text", "enhanced"),
    [
        ("5.1.1 nobody", "5.1.1"),
        ("5.7.1", "5.7.1"),
        ("nobody 5.1.1", None),
        ("3.1.1 x", None),
        ("5.1.1234 x", None),
    ],
)
def test_the_enhanced_code_is_the_one_that_the_text_begins_with(text: str, enhanced: str | None) -> None:
    assert Reply(Phase.RCPT, 550, text).enhanced == enhanced


@pytest.mark.parametrize("extensions", [PIPELINING, frozenset[str]()])
async def test_a_message_is_handed_over_and_then_another(extensions: frozenset[str]) -> None:
    server = Server({})
    async with talking(server, extensions) as dialogue:
        for _ in range(2):
            assert await dialogue.send(ENVELOPE, nothing) == Reply(Phase.END, 250, "2.0.0 taken")
            assert dialogue.is_open
    one = ["MAIL FROM:<office@argosy.test>", "RCPT TO:<ada@example.test>", "DATA", "."]
    assert server.heard == one * 2
    assert server.content == ENVELOPE.content * 2


CONTENT = st.text(st.sampled_from(".\r\nab"), max_size=40).map(
    lambda text: text.replace("\r", "\n").replace("\n", "\r\n").encode()
)


@settings(max_examples=30)
@given(content=CONTENT)
async def test_no_content_ends_itself(content: bytes) -> None:
    """Whatever its dots are: the server takes one away from each line that begins with one."""
    server = Server({})
    async with talking(server) as dialogue:
        assert (await dialogue.send(Envelope("a@b.test", "c@d.test", content), nothing)).accepted
    received = b"".join(line.removeprefix(b".") for line in server.content.splitlines(keepends=True))
    assert received == (content if content.endswith(b"\r\n") else content + b"\r\n")


async def test_the_end_is_sent_only_when_that_was_said() -> None:
    server = Server({})

    async def lost() -> None:
        raise LookupError

    async with talking(server) as dialogue:
        with pytest.raises(LookupError):
            await dialogue.send(ENVELOPE, lost)
        assert not dialogue.is_open
        await dialogue.quit()
    assert "." not in server.heard
    assert "QUIT" not in server.heard, "it would be taken for a line of the message"


@pytest.mark.parametrize("extensions", [PIPELINING, frozenset[str]()])
@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
async def test_after_a_refusal_the_dialogue_is_as_new(command: str, extensions: frozenset[str]) -> None:
    refusals = {command: "550-5.1.1 not\r\n550 this one", "DATA": "503 no recipients"}
    if command == "MAIL":
        refusals["RCPT"] = "503 no sender"
    server = Server(refusals)
    async with talking(server, extensions) as dialogue:
        assert await dialogue.send(ENVELOPE, nothing) == Reply(Phase(command), 550, "5.1.1 not this one")
        assert dialogue.is_open
        server.answers = FINE
        assert (await dialogue.send(ENVELOPE, nothing)).accepted


async def test_a_relay_that_would_have_data_all_the_same_is_left() -> None:
    """It has refused the only recipient, and waits for a message."""
    async with talking(Server({"RCPT": "550 no"})) as dialogue:
        assert (await dialogue.send(ENVELOPE, nothing)).refused
        assert not dialogue.is_open


@pytest.mark.parametrize("answer", ["421 4.3.2 going down", "what?"])
async def test_a_relay_that_goes_or_talks_nonsense_is_left(answer: str) -> None:
    async with talking(Server({"RCPT": answer})) as dialogue:
        reply = await dialogue.send(ENVELOPE, nothing)
        assert (reply.phase, reply.accepted, reply.in_doubt) == (Phase.RCPT, False, False)
        assert not dialogue.is_open


@pytest.mark.parametrize(
    ("command", "phase", "in_doubt"),
    [("MAIL", Phase.MAIL, False), ("DATA", Phase.DATA, False), (".", Phase.END, True)],
)
@pytest.mark.parametrize("answer", ["hang up", ""])
async def test_without_an_answer_there_is_doubt_only_at_the_end(
    command: str, phase: Phase, in_doubt: bool, answer: str
) -> None:
    async with talking(Server({command: answer}), timeout_s=60.0 if answer else 0.5) as dialogue:
        reply = await dialogue.send(ENVELOPE, nothing)
        assert (reply.phase, reply.code, reply.in_doubt) == (phase, None, in_doubt)
        assert not dialogue.is_open


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope("a@b.test>\r\nRCPT TO:<eve@evil.test", "c@d.test", b""),
        Envelope("a@b.test", "c@d.test\r\nDATA", b""),
        Envelope("a@b.test", "c d@e.test", b""),
        Envelope("a@b.test", "c\x00@e.test", b""),
    ],
)
async def test_an_address_that_is_more_than_one_is_not_said_aloud(envelope: Envelope) -> None:
    server = Server({})
    async with talking(server) as dialogue:
        reply = await dialogue.send(envelope, nothing)
        assert (reply.code, reply.enhanced) == (553, "5.1.3")
        assert (await dialogue.send(ENVELOPE, nothing)).accepted, "nothing has happened"
    assert len(server.heard) == 4


async def test_addresses_beyond_ascii_need_a_relay_that_knows_them() -> None:
    envelope = Envelope("a@b.test", "jürgen@example.test", b"x\r\n")
    server = Server({})
    async with talking(server) as dialogue:
        assert (await dialogue.send(envelope, nothing)).enhanced == "5.6.7"
    async with talking(server, frozenset({"smtputf8"})) as dialogue:
        assert (await dialogue.send(envelope, nothing)).accepted
    assert server.heard[:2] == ["MAIL FROM:<a@b.test> SMTPUTF8", "RCPT TO:<jürgen@example.test>"]


async def test_a_relay_that_never_comes_to_the_point_is_hung_up_on() -> None:
    async with talking(Server({"MAIL": "250-" + "x" * 2 * REPLY_BYTES_AT_MOST})) as dialogue:
        assert (await dialogue.send(ENVELOPE, nothing)).code is None
        assert not dialogue.is_open


async def test_what_a_relay_says_unasked_closes_the_dialogue() -> None:
    """Such as that it has been idle for too long."""
    server = Server({".": "250 taken\r\n421 4.4.2 idle"})
    async with talking(server) as dialogue:
        assert (await dialogue.send(ENVELOPE, nothing)).accepted
        assert not dialogue.is_open
        await dialogue.quit()
    assert "QUIT" not in server.heard


async def test_it_says_goodbye() -> None:
    said = asyncio.Event()
    server = Server({"QUIT": "221 bye"})
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = server.serve

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        said.set()

    server.serve = noted  # type: ignore[method-assign]
    async with talking(server) as dialogue:
        await dialogue.quit()
        await said.wait()
    assert server.heard == ["QUIT"]


async def test_the_size_is_said_where_the_relay_wants_to_know() -> None:
    """As RFC 1870, 5 counts it: with line ends, without doubled dots and the end."""
    server = Server({})
    async with talking(server, frozenset({"pipelining", "size"})) as dialogue:
        for content in (b".\r\nab\r\n", b".\r\nab"):
            assert (await dialogue.send(Envelope("a@b.test", "c@d.test", content), nothing)).accepted
    assert [command for command in server.heard if command.startswith("MAIL")] == [
        "MAIL FROM:<a@b.test> SIZE=7"
    ] * 2


class EarlyServer(Server):
    """Says before the end of the data that it is too large. It hangs up then, or reads no further."""

    def __init__(self, *, hangs_up: bool) -> None:
        super().__init__({})
        self.hangs_up = hangs_up
        self.may_end, self.has_ended = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in ("250 fine", "250 fine", "354 go on"):
            await reader.readline()
            writer.write(f"{reply}\r\n".encode())
        await reader.readline()
        writer.write(b"552 5.3.4 too big\r\n")
        if not self.hangs_up:
            await self.may_end.wait()
        writer.close()
        await writer.wait_closed()
        self.has_ended.set()


@pytest.mark.parametrize(("size", "hangs_up"), [(100, True), (100, False), (20_000_000, False)])
async def test_a_reply_before_the_end_of_the_data_ends_the_attempt(size: int, hangs_up: bool) -> None:
    """What the relay said is what counts, not that it hung up or took no more."""
    server = EarlyServer(hangs_up=hangs_up)

    envelope = Envelope("a@b.test", "c@d.test", b"Subject: x\r\n\r\n" + b"x" * size)
    async with talking(server) as dialogue:

        async def until_said() -> None:
            while not dialogue._wire.has_reply:
                await asyncio.sleep(0)

        reply = await dialogue.send(envelope, until_said)
        assert (reply.code, reply.enhanced, reply.refused, reply.in_doubt) == (552, "5.3.4", True, False)
        assert not dialogue.is_open
        await dialogue.quit()
        server.may_end.set()
        await server.has_ended.wait()
