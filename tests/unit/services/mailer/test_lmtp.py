"""Messages of any length of line are taken, and only their beginning is kept."""

import asyncio
from collections.abc import AsyncIterator
from smtplib import LMTP as Client
from smtplib import SMTPDataError

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from services.mailer import lmtp
from services.mailer.lmtp import KEPT_BYTES, ReportSession

LINE = 1_400


class Taken:
    """What was taken; also its port."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.port = 0

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.original_content, bytes)
        self.contents.append(envelope.original_content)
        return "250 2.0.0 taken"

    def send(self, content: bytes, recipients: int = 1) -> None:
        with Client("127.0.0.1", self.port) as client:
            to = [f"r{number}@back.test" for number in range(recipients)]
            assert client.sendmail("office@argosy.test", to, content) == {}
            assert client.noop()[0] == 250, "nothing of the message is taken for a command, and no reply is left"


@pytest.fixture
async def taken() -> AsyncIterator[Taken]:
    made, loop = Taken(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: ReportSession(made, loop=loop), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.mark.parametrize("length", [998, 999, 1000, 1001, 1002, 1003, 1400, 2002, 2003, 100_000])
async def test_a_line_may_be_of_any_length(taken: Taken, length: int) -> None:
    content = b"Subject: x\r\n\r\n" + b"x" * length + b"\r\n..\r\n." + b"y" * length + b"\r\n"
    await asyncio.to_thread(taken.send, content)
    assert taken.contents == [content]


async def test_only_the_beginning_of_a_large_message_is_kept(taken: Taken) -> None:
    content = b"Subject: x\r\n\r\n" + (b"A" * 76 + b"\r\n") * 30_000
    await asyncio.to_thread(taken.send, content)
    assert taken.contents == [content[:KEPT_BYTES]]


async def test_one_that_is_too_large_is_refused_and_the_next_one_taken(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmtp, "MESSAGE_BYTES_AT_MOST", 10_000)

    def send() -> None:
        with Client("127.0.0.1", taken.port) as client:
            client.ehlo()
            client.esmtp_features.pop("size")
            with pytest.raises(SMTPDataError, match="552"):
                client.sendmail("a@b.test", ["c@back.test"], b"x" * 20_000)
            client.sendmail("a@b.test", ["c@back.test"], b"x\r\n")

    await asyncio.to_thread(send)
    assert taken.contents == [b"x\r\n"]


async def test_each_recipient_is_answered(taken: Taken) -> None:
    def replies() -> list[int]:
        with Client("127.0.0.1", taken.port) as client:
            client.ehlo()
            client.mail("a@b.test")
            for number in range(3):
                client.rcpt(f"r{number}@back.test")
            return [client.data(b"x\r\n")[0], client.getreply()[0], client.getreply()[0], client.noop()[0]]

    assert await asyncio.to_thread(replies) == [250, 250, 250, 250]
    assert len(taken.contents) == 1
