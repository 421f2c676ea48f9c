"""Files that go with a letter: fetched once for all its recipients, and put around their messages."""

import asyncio
import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.blobs import Blobs
from libs.common.contracts.mail import AttachedFile
from services.mailer.compose.header_fields import parameter
from services.mailer.refusals import AttachmentMissing

_CONTENT_FIELD = re.compile(
    rb"(?:^|(?<=\r\n))(?:Content-[^:\r\n]+|MIME-Version):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.I
)


@dataclass(frozen=True, slots=True)
class Enclosure:
    """The files of a letter as MIME parts: those shown in the text, and those beside it."""

    inline: tuple[bytes, ...] = ()
    beside: tuple[bytes, ...] = ()

    def around(self, message: bytes) -> bytes:
        """`message` with the files. Its parts become part of a larger whole."""
        if self.inline:
            message = _joined(message, self.inline, "related")
        if self.beside:
            message = _joined(message, self.beside, "mixed")
        return message


async def fetch(blobs: Blobs, attached: Sequence[AttachedFile]) -> Enclosure:
    """The files of a letter. Raises AttachmentMissing."""
    inline: list[bytes] = []
    beside: list[bytes] = []
    for file in attached:
        try:
            content = b"".join([chunk async for chunk in blobs.read(file.key)])
        except FileNotFoundError:
            raise AttachmentMissing from None
        part = await asyncio.to_thread(_part, file, content)
        (beside if file.content_id is None else inline).append(part)
    return Enclosure(tuple(inline), tuple(beside))


def _part(file: AttachedFile, content: bytes) -> bytes:
    shown = "inline" if file.content_id else "attachment"
    lines = [
        f"Content-Type: {file.media_type}",
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: {shown}; {parameter('filename', file.filename)}",
    ]
    if file.content_id:
        lines.append(f"Content-ID: <{file.content_id}>")
    return "\r\n".join([*lines, "", ""]).encode() + base64.encodebytes(content).replace(b"\n", b"\r\n")


def _joined(message: bytes, parts: Sequence[bytes], kind: str) -> bytes:
    head, _, body = message.partition(b"\r\n\r\n")
    head += b"\r\n"
    own = b"".join(
        field for field in _CONTENT_FIELD.findall(head) if not field.lower().startswith(b"mime-version")
    )
    boundary = f"=_{kind}_".encode()
    while any(boundary in part for part in (*parts, body)):
        boundary += b"x"
    outer = _CONTENT_FIELD.sub(b"", head) + b"MIME-Version: 1.0\r\n"
    outer += b'Content-Type: multipart/%s; boundary="%s"\r\n\r\n' % (kind.encode(), boundary)
    pieces = [own + b"\r\n" + body, *parts]
    return outer + b"".join(b"--%s\r\n%s\r\n" % (boundary, piece) for piece in pieces) + b"--%s--\r\n" % boundary
