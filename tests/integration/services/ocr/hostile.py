"""Files made to do harm: cut off, going round in circles, or far larger inside than outside."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

import pikepdf

from tests import pictures


def deflated(byte: int, count: int) -> bytes:
    """So many times that byte, as zlib deflates it (RFC 1950), but without going through them all."""
    piece, modulus = 1_000_000, 65_521
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes([byte]) * piece) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes([byte]) * (count % piece)) + packer.flush()
    low, high = (1 + count * byte) % modulus, (count + byte * count * (count + 1) // 2) % modulus  # Adler-32
    return b"\x78\xda" + block * (count // piece) + rest + struct.pack(">HH", high, low)


def bomb_png(edge: int) -> bytes:
    """A black-and-white PNG of `edge` × `edge` pixels in a few kilobytes."""
    data = deflated(0, edge * (1 + (edge + 7) // 8))
    header = struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb_tiff() -> bytes:
    """A TIFF that claims 60,000 × 60,000 pixels in colour and has ten bytes of them."""
    entries = [(256, 4, 60_000), (257, 4, 60_000), (258, 3, 8), (259, 3, 1), (262, 3, 2), (273, 4, 8),
               (277, 3, 3), (278, 4, 60_000), (279, 4, 10)]  # fmt: skip
    body = b"II*\x00" + struct.pack("<I", 20) + bytes(12) + struct.pack("<H", len(entries))
    return body + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries) + bytes(4)


def _pdf(change: Callable[[pikepdf.Pdf, pikepdf.Page], None]) -> bytes:
    with pikepdf.new() as document:
        document.add_blank_page(page_size=(612, 792))
        change(document, document.pages[0])
        buffer = io.BytesIO()
        document.save(buffer, compress_streams=False)
    return buffer.getvalue()


def inflating_pdf(megabytes: int) -> bytes:
    """A PDF whose page content is that many megabytes of spaces, deflated twice."""

    def change(document: pikepdf.Pdf, page: pikepdf.Page) -> None:
        stream = pikepdf.Stream(document, b"")
        filters = pikepdf.Array([pikepdf.Name.FlateDecode, pikepdf.Name.FlateDecode])
        stream.write(zlib.compress(deflated(ord(" "), megabytes * 1_000_000), 9), filter=filters)
        page.Contents = document.make_indirect(stream)

    return _pdf(change)


def inflating_picture_pdf(edge: int) -> bytes:
    """A PDF with one picture of `edge` × `edge` pixels in a few kilobytes."""

    def change(document: pikepdf.Pdf, page: pikepdf.Page) -> None:
        picture = pikepdf.Stream(document, b"")
        picture.write(deflated(0, edge * edge), filter=pikepdf.Name.FlateDecode)
        picture.Type, picture.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
        picture.Width = picture.Height = edge
        picture.ColorSpace, picture.BitsPerComponent = pikepdf.Name.DeviceGray, 8
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(P=document.make_indirect(picture)))
        page.Contents = document.make_stream(b"q 612 0 0 792 0 0 cm /P Do Q")

    return _pdf(change)


def form_in_itself_pdf() -> bytes:
    """A PDF with a form that draws itself, twice."""

    def change(document: pikepdf.Pdf, page: pikepdf.Page) -> None:
        form = document.make_stream(b"/F Do /F Do")
        form.Type, form.Subtype = pikepdf.Name.XObject, pikepdf.Name.Form
        form.BBox = pikepdf.Array([0, 0, 612, 792])
        form.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(F=form))
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(F=form))
        page.Contents = document.make_stream(b"/F Do")

    return _pdf(change)


def endless_tree_pdf() -> bytes:
    """A PDF whose tree of pages has itself as a child."""
    return _pdf(lambda document, _page: document.Root.Pages.Kids.append(document.Root.Pages))


def endless_outline_pdf() -> bytes:
    """A PDF whose outline's entry comes after itself."""

    def change(document: pikepdf.Pdf, _page: pikepdf.Page) -> None:
        entry = document.make_indirect(pikepdf.Dictionary(Title="again"))
        entry.Next = entry
        document.Root.Outlines = document.make_indirect(pikepdf.Dictionary(First=entry, Last=entry, Count=1))

    return _pdf(change)


def unmapped_font_pdf() -> bytes:
    """A PDF whose letters are shapes without any meaning."""

    def change(document: pikepdf.Pdf, page: pikepdf.Page) -> None:
        font = pikepdf.Dictionary(
            Type=pikepdf.Name.Font,
            Subtype=pikepdf.Name.Type3,
            FontBBox=pikepdf.Array([0, 0, 1000, 1000]),
            FontMatrix=pikepdf.Array([0.001, 0, 0, 0.001, 0, 0]),
            CharProcs=pikepdf.Dictionary(a=document.make_stream(b"1000 0 0 0 750 750 d1 0 0 750 750 re f")),
            Encoding=pikepdf.Dictionary(Differences=pikepdf.Array([1, pikepdf.Name.a])),
            FirstChar=1,
            LastChar=1,
            Widths=pikepdf.Array([1000]),
        )
        page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=font))
        page.Contents = document.make_stream(b"BT /F 12 Tf 72 700 Td <0101010101> Tj ET")

    return _pdf(change)


def _whole(kind: str) -> bytes:
    page = pictures.page()
    return pictures.scanned_pdf([page]) if kind == "pdf" else pictures.encoded(page, kind.upper())


def _cut_off(kind: str) -> bytes:
    content = _whole(kind)
    return content[: len(content) // 2]


def _vast(_document: pikepdf.Pdf, page: pikepdf.Page) -> None:
    page.MediaBox = pikepdf.Array([0, 0, 100_000, 100_000])


def _garbled(kind: str) -> bytes:
    """Every 97th byte turned over, from a hundred on."""
    content = _whole(kind)
    return content[:100] + bytes(
        byte ^ 0xFF if position % 97 == 0 else byte for position, byte in enumerate(content[100:])
    )


KINDS = ("png", "jpeg", "tiff", "webp", "pdf")
CORPUS: dict[str, Callable[[], bytes]] = {
    **{f"{kind}-cut-off": partial(_cut_off, kind) for kind in KINDS},
    **{f"{kind}-garbled": partial(_garbled, kind) for kind in KINDS},
    "png-bomb": lambda: bomb_png(50_000),
    "tiff-bomb": bomb_tiff,
    "pdf-content-bomb": lambda: inflating_pdf(3_000),
    "pdf-picture-bomb": lambda: inflating_picture_pdf(60_000),
    "pdf-of-100000-points": lambda: _pdf(_vast),
    "pdf-form-in-itself": form_in_itself_pdf,
    "pdf-endless-tree": endless_tree_pdf,
    "pdf-endless-outline": endless_outline_pdf,
    "pdf-unmapped-font": unmapped_font_pdf,
    "pdf-encrypted": pictures.encrypted_pdf,
    "pdf-header-only": lambda: b"%PDF-1.7\n",
    "postscript-as-pdf": lambda: b"%!PS\n%PDF-1.7\nshowpage",
}
"""Every one of them, by name. They are made when they are wanted: some take seconds."""
