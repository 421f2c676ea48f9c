"""A page with text of its own and pictures."""

import io

import pikepdf
import pypdfium2
from PIL import Image, ImageDraw, ImageFont

from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import words_of


async def test_text_beside_pictures_of_text(reader: Reader) -> None:
    """A page with text of its own and a picture that has some too: both are found, each once."""
    picture = Image.new("L", (900, 300), 255)
    font = ImageFont.load_default(size=60)
    ImageDraw.Draw(picture).text((40, 100), "Harbour master only", fill=0, font=font)
    with pikepdf.open(io.BytesIO(pictures.text_pdf("Typed by a machine long ago"))) as document:
        stream = pikepdf.Stream(document, picture.tobytes())
        stream.Type, stream.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
        stream.Width, stream.Height = picture.size
        stream.ColorSpace, stream.BitsPerComponent = pikepdf.Name.DeviceGray, 8
        page = document.pages[0]
        page.Resources.XObject = pikepdf.Dictionary(P=document.make_indirect(stream))
        page.contents_add(document.make_stream(b"q 450 0 0 150 72 300 cm /P Do Q"))
        buffer = io.BytesIO()
        document.save(buffer)
    done = await reader.read(buffer.getvalue())
    text = await reader.text(done)
    assert text.count("machine") == text.count("Harbour") == 1
    (found,) = await reader.words(done)
    assert found["source"] == "mixed"
    confidences = {word["text"]: word["confidence"] for word in words_of([found])}
    assert confidences["machine"] == 100
    assert 70 < confidences["Harbour"] < 100
    (sheet,) = pypdfium2.PdfDocument(await reader.artifact(done, "document.pdf"))
    shown = sheet.get_textpage().get_text_range()
    assert shown.count("machine") == shown.count("Harbour") == 1
