"""Attachments and inline images of a letter: fetched once, then added to the message of each recipient."""

import asyncio
import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.blobs import Blobs
from libs.common.contracts.mail import AttachedFile
from libs.common.errors import BlobMissing
from services.mailer.compose.header_fields import parameter
from services.mailer.refusals import AttachmentMissing

_CONTENT_FIELD = re.compile(
    rb"(?:^|(?<=\r\n))(?:Content-[^:\r\n]+|MIME-Version):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.I
)


@dataclass(frozen=True, slots=True)
class AttachmentParts:
    """The files of a letter as MIME parts: those shown inline in the HTML, and the attachments."""

    inline: tuple[bytes, ...] = ()
    attached: tuple[bytes, ...] = ()

    def wrap(self, message: bytes) -> bytes:
        """Return `message` with the files: its content becomes the first part of a multipart message."""
        if self.inline:
            message = _multipart(message, self.inline, "related")
        if self.attached:
            message = _multipart(message, self.attached, "mixed")
        return message


async def fetch(blobs: Blobs, files: Sequence[AttachedFile]) -> AttachmentParts:
    """Read the files of a letter from the blob store and encode them as MIME parts. Raises AttachmentMissing."""
    inline: list[bytes] = []
    attached: list[bytes] = []
    for file in files:
        try:
            content = b"".join([chunk async for chunk in blobs.read(file.key)])
        except BlobMissing:
            raise AttachmentMissing from None
        part = await asyncio.to_thread(_part, file, content)
        (attached if file.content_id is None else inline).append(part)
    return AttachmentParts(tuple(inline), tuple(attached))


def _part(file: AttachedFile, content: bytes) -> bytes:
    disposition = "inline" if file.content_id else "attachment"
    lines = [
        f"Content-Type: {file.media_type}",
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: {disposition}; {parameter('filename', file.filename)}",
    ]
    if file.content_id:
        lines.append(f"Content-ID: <{file.content_id}>")
    return "\r\n".join([*lines, "", ""]).encode() + base64.encodebytes(content).replace(b"\n", b"\r\n")


def _multipart(message: bytes, parts: Sequence[bytes], kind: str) -> bytes:
    header, _, body = message.partition(b"\r\n\r\n")
    header += b"\r\n"
    content_fields = b"".join(
        field for field in _CONTENT_FIELD.findall(header) if not field.lower().startswith(b"mime-version")
    )
    boundary = f"=_{kind}_".encode()
    while any(boundary in part for part in (*parts, body)):
        boundary += b"x"
    outer = _CONTENT_FIELD.sub(b"", header) + b"MIME-Version: 1.0\r\n"
    outer += b'Content-Type: multipart/%s; boundary="%s"\r\n\r\n' % (kind.encode(), boundary)
    all_parts = [content_fields + b"\r\n" + body, *parts]
    return outer + b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in all_parts) + b"--%s--\r\n" % boundary
