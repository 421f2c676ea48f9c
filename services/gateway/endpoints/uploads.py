"""Streams multipart/form-data straight into the blob store, never holding a file in memory or on disk twice.

The first bytes of a file decide its type; its name and its declared type are ignored.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)
from starlette.requests import Request

from libs.common import metrics
from libs.common.blobs import Blobs, Stored
from services.gateway.problems import BadRequest, Invalid, TooLarge, UnsupportedMediaType

FIELD_AT_MOST = 64 * 1024
"""The maximum size in bytes of a part that is not the file."""
FRAMING_AT_MOST = 64 * 1024
"""Bytes that the multipart framing and the small parts may add to the file."""
PARTS_AT_MOST = 16
SNIFFED = 1024
"""Bytes that decide a file's type. A PDF's header may be anywhere in them (ISO 32000, annex H)."""

BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""The sizes in bytes that a BMP's second header can have."""
BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "image/heic"),
}
"""The brands of HEIF files, the telling ones first (ISO 23008-12, annex B)."""

UPLOAD = "upload"
"""The name of the file in its folder."""

_PERCENT_ENCODED = re.compile(r"(?:[!\"#$&'()*+,./:;=?@\[\]\w~-]|%[0-9A-Fa-f]{2})+", re.ASCII)
"""A name in which everything is encoded that no URI has, except quotes: the parser has decoded those."""
_ENCODED_NAME = re.compile(r"filename\*=(?:[A-Za-z0-9-]*)'[^']*'([^;\s]*)", re.IGNORECASE)
"""RFC 7578, 4.2, forbids this form, and clients send it all the same."""

Events = AsyncGenerator[MultipartSegment | bytes | bytearray | None, None]


@dataclass(slots=True)
class Upload:
    """A stored file and the fields that came with it."""

    stored: Stored
    media_type: str
    filename: str
    fields: dict[str, str] = field(default_factory=dict)


def media_type_of(head: bytes) -> str | None:
    """The media type of a file that begins with `head`, or None if it is not supported."""
    signatures = (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"II+\x00", "image/tiff"),
        (b"MM\x00+", "image/tiff"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
        (b"\xff\x4f\xff\x51", "image/jp2"),
    )
    for signature, media_type in signatures:
        if head.startswith(signature):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _media_type_of_brands(head[8 : int.from_bytes(head[:4])])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADERS:
        return "image/bmp"
    return "application/pdf" if b"%PDF-" in head[:SNIFFED] else None


def _media_type_of_brands(listed: bytes) -> str | None:
    """The media type of a HEIF file: four bytes each are a brand, but for the second four."""
    brands = {listed[start : start + 4] for start in range(0, len(listed), 4)}
    return next((media_type for brand, media_type in BRANDS.items() if brand in brands), None)


async def receive(
    request: Request, blobs: Blobs, folder: str, *, max_bytes: int, known_fields: Collection[str]
) -> Upload:
    """Store the part `file` of `request`, of at most `max_bytes`, in `folder`. `known_fields`: the other parts.

    Raises a Problem for anything wrong with the request, and StorageUnavailable. Then nothing is left in `folder`.
    """
    upload: Upload | None = None
    fields: dict[str, str] = {}
    try:
        async with aclosing(_events(request, max_bytes)) as events:
            async for event in events:
                if not isinstance(event, MultipartSegment):
                    continue
                name = _text(event.name)
                if name in fields:
                    raise Invalid(errors=[{"field": name, "message": "There must be only one."}])
                if name in known_fields:
                    fields[name] = await _read_field(name, events)
                elif name != "file":
                    raise _no_such_part(name[:100], is_file=event.filename is not None)
                elif upload is not None:
                    raise Invalid(errors=[{"field": "file", "message": "There must be only one file."}])
                else:
                    upload = await _store(blobs, f"{folder}/{UPLOAD}", _filename(event), events, max_bytes)
    except BaseException as error:
        await blobs.discard(folder)
        if isinstance(error, MultipartError):
            raise BadRequest(_what_is_wrong(error)) from error
        raise
    if upload is None:
        raise Invalid(errors=[{"field": "file", "message": "This is required."}])
    upload.fields = fields
    return upload


async def _events(request: Request, max_bytes: int) -> Events:
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    if content_type != "multipart/form-data" or not options.get("boundary"):
        raise UnsupportedMediaType("Send multipart/form-data with a part named `file`.")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes + FRAMING_AT_MOST:
        raise _too_large(max_bytes)
    parser = PushMultipartParser(
        options["boundary"], max_segment_count=PARTS_AT_MOST, header_charset="latin-1", strict=True
    )
    with parser:
        async for chunk in request.stream():
            if chunk:
                for event in parser.parse(chunk):
                    yield event


def _no_such_part(name: str, *, is_file: bool) -> Invalid:
    if is_file:
        message = f"The document goes into the part `file`; it came as `{name}`."
        return Invalid(errors=[{"field": "file", "message": message}])
    return Invalid(errors=[{"field": name, "message": "There is no such part."}])


def _what_is_wrong(error: MultipartError) -> str:
    if isinstance(error, ParserLimitReached):
        return f"The multipart body has more than {PARTS_AT_MOST} parts, or a part with too long a head."
    return "The body is not multipart/form-data as in RFC 7578, or it ends too early."


def _text(name: str) -> str:
    """A name in the head of a part, which may be in any charset: as UTF-8, with a mark for all that is none."""
    return name.encode("latin-1", "replace").decode(errors="replace")


def _filename(part: MultipartSegment) -> str:
    """The name of a file as its sender has it, or an empty one."""
    if part.filename:
        return _decoded(_text(part.filename))
    encoded = _ENCODED_NAME.search(part.header("Content-Disposition") or "")
    return unquote_to_bytes(encoded[1]).decode(errors="replace") if encoded else ""


def _decoded(name: str) -> str:
    """`name` without percent-encoding (RFC 7578, 4.2), as aiohttp sends it.

    It is left as it is if it has what an encoder would not leave, or what no name has.
    """
    if not _PERCENT_ENCODED.fullmatch(name):
        return name
    try:
        decoded = unquote_to_bytes(name).decode()
    except UnicodeDecodeError:
        return name
    return decoded if decoded.isprintable() else name


async def _store(blobs: Blobs, key: str, filename: str, events: Events, max_bytes: int) -> Upload:
    head = bytearray()
    rest = _part(events)
    async for chunk in rest:
        head += chunk
        if len(head) >= SNIFFED:
            break
    if not head:
        raise Invalid(errors=[{"field": "file", "message": "The file is empty."}])
    media_type = media_type_of(bytes(head))
    if media_type is None:
        raise UnsupportedMediaType(
            "The file is none of PDF, PNG, JPEG, TIFF, WebP, HEIC, AVIF, GIF, BMP and JPEG 2000."
        )

    async def content() -> AsyncIterator[bytes]:
        size = len(head)
        yield bytes(head)
        async for chunk in rest:
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            yield chunk

    stored = await blobs.write(key, content())
    metrics.upload_bytes.inc(stored.size)
    return Upload(stored, media_type, filename)


async def _read_field(name: str, events: Events) -> str:
    value = bytearray()
    async for chunk in _part(events):
        value += chunk
        if len(value) > FIELD_AT_MOST:
            raise Invalid(errors=[{"field": name, "message": f"At most {FIELD_AT_MOST} bytes."}])
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Invalid(errors=[{"field": name, "message": "Not UTF-8."}]) from error


async def _part(events: Events) -> AsyncIterator[bytes]:
    """The content of the part whose header has just been read."""
    async for event in events:
        if event is None:
            return
        if isinstance(event, bytes | bytearray):
            yield bytes(event)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"A file may have at most {max_bytes} bytes.", max_bytes=max_bytes)
