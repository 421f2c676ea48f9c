"""PDF pages drawn for the tests from content streams: text, pictures, invisible text, forms and notes."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name
from PIL import Image

from tests.pictures import LINES, page

WIDTH, HEIGHT = 612, 792
SCAN_DPI = 150
Change = Callable[[pikepdf.Pdf, pikepdf.Page], None]


def drawn_pdf(
    content: str, pictures: Mapping[str, Image.Image] | None = None, change: Change | None = None
) -> bytes:
    """A letter page of that content. `/F1` is Helvetica; `pictures` are drawn with `/NAME Do`."""
    with pikepdf.new() as document:
        document.add_blank_page(page_size=(WIDTH, HEIGHT))
        sheet = document.pages[0]
        font = Dictionary(
            Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica, Encoding=Name.WinAnsiEncoding
        )
        images = {f"/{name}": picture_object(document, image) for name, image in (pictures or {}).items()}
        sheet.Resources = Dictionary(Font=Dictionary(F1=font), XObject=Dictionary(images))
        sheet.Contents = document.make_stream(content.encode("latin-1"))
        if change is not None:
            change(document, sheet)
        return saved(document)


def picture_object(document: pikepdf.Pdf, image: Image.Image) -> pikepdf.Object:
    """A grey picture."""
    grey = image.convert("L")
    stream = pikepdf.Stream(document, grey.tobytes())
    stream.Type, stream.Subtype = Name.XObject, Name.Image
    stream.Width, stream.Height = grey.size
    stream.ColorSpace, stream.BitsPerComponent = Name.DeviceGray, 8
    return document.make_indirect(stream)


def saved(document: pikepdf.Pdf, **options: Any) -> bytes:
    """The bytes of the document."""
    buffer = io.BytesIO()
    document.save(buffer, **options)
    return buffer.getvalue()


def text(content: str, x: float, y: float, size: float = 12, mode: int = 0) -> str:
    """Operators that show a line of text. `mode` 3 is invisible."""
    return f"BT /F1 {size} Tf {mode} Tr 1 0 0 1 {x} {y} Tm ({content}) Tj ET\n"


def scan() -> Image.Image:
    """The picture of the page of LINES."""
    return page(dpi=SCAN_DPI)


def whole_page(name: str = "Scan") -> str:
    """Operators that draw a picture over the whole page."""
    return f"q {WIDTH} 0 0 {HEIGHT} 0 0 cm /{name} Do Q\n"


def layer(first: int = 0, last: int = len(LINES), words: tuple[str, ...] = LINES, mode: int = 3) -> str:
    """An invisible layer over the lines of `scan()`. The print is a little wider than that of Helvetica."""
    size = 14
    return "".join(
        text(line, 72, HEIGHT - 72 * (1 + number * 0.4) - size * 0.95, size, mode)
        for number, line in enumerate(words[first:last], first)
    )


def strips(image: Image.Image, number: int) -> tuple[str, dict[str, Image.Image]]:
    """Operators and pictures that draw it in so many strips."""
    height = image.height // number
    pictures = {f"S{at}": image.crop((0, at * height, image.width, (at + 1) * height)) for at in range(number)}
    share = HEIGHT / number
    return "".join(
        f"q {WIDTH} 0 0 {share} 0 {HEIGHT - (at + 1) * share} cm /S{at} Do Q\n" for at in range(number)
    ), pictures


def hidden_group(document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
    """Switch off the layer (optional content) `/Hidden`."""
    group = document.make_indirect(Dictionary(Type=Name.OCG, Name="Notes"))
    document.Root.OCProperties = Dictionary(
        OCGs=Array([group]), D=Dictionary(OFF=Array([group]), Order=Array([group]))
    )
    sheet.Resources.Properties = Dictionary(Hidden=group)


def add_note(
    document: pikepdf.Pdf, sheet: pikepdf.Page, content: str, kind: str = "/FreeText", flags: int = 4
) -> None:
    """A note on the page at (72, 300), as anybody sees it."""
    look = document.make_stream(f"BT /F1 12 Tf 2 5 Td ({content}) Tj ET".encode())
    look.Type, look.Subtype, look.BBox = Name.XObject, Name.Form, Array([0, 0, 400, 20])
    look.Resources = Dictionary(Font=sheet.Resources.Font)
    note = Dictionary(
        Type=Name.Annot,
        Subtype=Name(kind),
        Rect=Array([72, 300, 472, 320]),
        F=flags,
        Contents=content,
        DA="/F1 12 Tf 0 g",
        AP=Dictionary(N=look),
    )
    sheet.Annots = Array([*sheet.get("/Annots", ()), document.make_indirect(note)])


def add_field(document: pikepdf.Pdf, sheet: pikepdf.Page, value: str) -> None:
    """A filled text field at (72, 300)."""
    add_note(document, sheet, value, "/Widget")
    field = sheet.Annots[-1]
    del field.Contents
    field.FT, field.T, field.V = Name.Tx, "vessel", value
    document.Root.AcroForm = Dictionary(Fields=Array([field]), DR=Dictionary(Font=sheet.Resources.Font))
