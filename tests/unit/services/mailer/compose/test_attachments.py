"""Files go with a letter whole, where its author wants them, and change nothing else about it."""

from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from pathlib import Path

import pytest

from libs.common.blobs import Blobs
from libs.common.config import BlobSettings
from libs.common.contracts.mail import AttachedFile
from services.mailer.compose.attachments import AttachmentParts, fetch
from services.mailer.compose.mime import entity
from services.mailer.refusals import AttachmentMissing

PICTURE = AttachedFile(key="picture", filename="tide.png", media_type="image/png", content_id="tide@argosy")
TABLE = AttachedFile(key="table", filename="Flut & Ebbe – März.pdf", media_type="application/pdf")
CONTENTS = {"picture": bytes(range(256)) * 10, "table": b"%PDF-\r\n.\n--=_mixed_\r\n" * 100}
HEAD = b"From: a@b.test\r\nSubject: Tides\r\n and winds\r\nX-Content-Length: 5\r\n"


@pytest.fixture
async def blobs(tmp_path: Path) -> Blobs:
    store = Blobs(BlobSettings.model_validate({"blob_url": tmp_path.as_uri()}))

    async def chunks(content: bytes) -> AsyncIterator[bytes]:
        yield content

    for key, content in CONTENTS.items():
        await store.write(key, chunks(content))
    return store


def parsed(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.default)


def content_of(part: MIMEPart) -> bytes:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


async def test_a_file_that_is_gone_is_said_so(blobs: Blobs) -> None:
    with pytest.raises(AttachmentMissing):
        await fetch(blobs, [TABLE, TABLE.model_copy(update={"key": "nowhere"})])


async def test_files_arrive_byte_by_byte_under_their_names(blobs: Blobs) -> None:
    enclosure = await fetch(blobs, [TABLE, TABLE.model_copy(update={"key": "picture", "filename": "b.bin"})])
    message = parsed(enclosure.wrap(HEAD + entity("High water.", None)))
    assert message.get_content_type() == "multipart/mixed"
    text, table, other = message.iter_parts()
    assert text.get_content().strip() == "High water."
    assert [part.get_filename() for part in (table, other)] == [TABLE.filename, "b.bin"]
    assert [content_of(part) for part in (table, other)] == [CONTENTS["table"], CONTENTS["picture"]]
    assert {part.get_content_disposition() for part in (table, other)} == {"attachment"}


async def test_pictures_are_within_the_text_and_other_files_beside_it(blobs: Blobs) -> None:
    enclosure = await fetch(blobs, [TABLE, PICTURE])
    message = parsed(enclosure.wrap(HEAD + entity("High water.", '<img src="cid:tide@argosy">')))
    related, table = message.iter_parts()
    assert isinstance(related, EmailMessage)
    words, picture = related.iter_parts()
    kinds = [part.get_content_type() for part in (message, related, words, picture, table)]
    assert kinds == [
        "multipart/mixed",
        "multipart/related",
        "multipart/alternative",
        "image/png",
        "application/pdf",
    ]
    assert (picture["Content-ID"], picture.get_content_disposition()) == ("<tide@argosy>", "inline")
    html = message.get_body(("html",))
    assert html is not None
    assert "cid:tide@argosy" in html.get_content()


async def test_the_other_fields_stay_and_those_of_the_content_are_there_once(blobs: Blobs) -> None:
    enclosure = await fetch(blobs, [TABLE, PICTURE])
    message = parsed(enclosure.wrap(HEAD + entity("High water.", None)))
    assert sorted(message.keys()) == ["Content-Type", "From", "MIME-Version", "Subject", "X-Content-Length"]
    assert message["Subject"] == "Tides and winds"


async def test_a_file_cannot_end_its_part(blobs: Blobs) -> None:
    """A text that knows the boundary, since files are in base64."""
    enclosure = await fetch(blobs, [TABLE])
    boundary = parsed(enclosure.wrap(HEAD + entity("x", None))).get_boundary()
    message = parsed(enclosure.wrap(HEAD + entity(f"--{boundary}--\r\nover?", None)))
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "application/pdf"]


def test_a_letter_without_files_stays_as_it_is() -> None:
    message = HEAD + entity("High water.", None)
    assert AttachmentParts().wrap(message) == message
