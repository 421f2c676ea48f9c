"""Mail is caught whole, and shown so that nothing in it can run."""

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import httpx
import pytest
from aiosmtpd.smtp import SMTP

from deploy.local import mail_catcher
from deploy.local.mail_catcher import Catcher, caught


@pytest.fixture
async def smtp_port(tmp_path: Path) -> AsyncIterator[int]:
    """Where mail for `tmp_path`/mail is taken."""
    loop = asyncio.get_running_loop()
    catcher = Catcher(tmp_path / "mail")
    server = await loop.create_server(
        lambda: SMTP(catcher, enable_SMTPUTF8=True, hostname="catcher", loop=loop), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()[1]
    server.close()


def letter(subject: str = "Ahoy", text: str = "In.\n.\nport.") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "office@example.com", "ada@example.com", subject
    message.set_content(text)
    return message


async def send(port: int, message: EmailMessage, *recipients: str) -> None:
    await aiosmtplib.send(message, recipients=recipients or None, hostname="127.0.0.1", port=port, start_tls=False)


async def shown(folder: Path, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(mail_catcher.page(folder))
    async with httpx.AsyncClient(transport=transport, base_url="http://catcher") as client:
        return await client.get(path)


async def test_a_message_is_kept_as_it_came_with_its_envelope(smtp_port: int, tmp_path: Path) -> None:
    await send(smtp_port, letter(), "ada@example.com", "blind@example.com")
    ((_, message),) = caught(tmp_path / "mail")
    assert message["X-Envelope-From"] == "office@example.com"
    assert message["X-Envelope-To"] == "ada@example.com, blind@example.com"
    assert message.get_content().splitlines() == ["In.", ".", "port."]


async def test_the_newest_are_first_and_only_so_many(
    smtp_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_catcher, "SHOWN", 3)
    for number in range(5):
        await send(smtp_port, letter(f"Letter {number}"))
    assert [message["Subject"] for _, message in caught(tmp_path / "mail")] == ["Letter 4", "Letter 3", "Letter 2"]
    (tmp_path / "mail" / ".half-written").write_text("Subject: Letter 9")
    index = (await shown(tmp_path / "mail", "/")).text
    assert index.index("Letter 4") < index.index("Letter 2")
    assert "Letter 1" not in index
    assert "Letter 9" not in index


async def test_nothing_in_a_message_becomes_part_of_the_page(smtp_port: int, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    message = letter(evil, evil)
    message.add_alternative(f'<p title="x">{evil}</p>', subtype="html")
    message.add_attachment(b"x", maintype="text", subtype="x", filename=f"{evil}.txt")
    await send(smtp_port, message)
    ((name, _),) = caught(tmp_path / "mail")
    page = (await shown(tmp_path / "mail", f"/{name}")).text
    assert evil not in page + (await shown(tmp_path / "mail", "/")).text
    assert page.count("&lt;script&gt;") >= 4, "subject, text, html and the file's name are shown"
    assert "<iframe sandbox srcdoc=" in page


@pytest.mark.parametrize("path", ["/nothing", "/..%2Fsecret", "/%2E%2E", "/.hidden"])
async def test_no_file_beside_the_mail_is_shown(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.eml").write_text("Subject: hunter2")
    Catcher(tmp_path / "mail")
    answer = await shown(tmp_path / "mail", path)
    assert answer.status_code == 404
    assert "hunter2" not in answer.text


async def test_a_letter_without_a_subject_can_be_opened(smtp_port: int, tmp_path: Path) -> None:
    message = letter()
    del message["Subject"]
    await send(smtp_port, message)
    assert "(no subject)" in (await shown(tmp_path / "mail", "/")).text
