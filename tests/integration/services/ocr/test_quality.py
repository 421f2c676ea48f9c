"""What makes a reading good: the right way up, straight, twice where unsure, never again; and its formats."""

import io
import os
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pikepdf
import pypdfium2
import pytest
from PIL import Image, ImageDraw, ImageFont

from libs.common.worker.job import Done
from services.ocr.recognition import Reader as Recogniser
from services.ocr.refusals import PageCrashed
from services.ocr.tesseract import Kind
from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.pictures import LINES, word_f1

TEXT = " ".join(LINES)


def words_of(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [w for page in pages for block in page["blocks"] for line in block["lines"] for w in line["words"]]


async def committed(reader: Reader, done: Done) -> None:
    """Write what the handler wants written, as the runtime does."""
    assert done.effects is not None
    async with reader.deps.database.begin() as connection:
        await done.effects(connection)


@pytest.mark.parametrize("engine", ["tesseract", "tesserocr"])
@pytest.mark.parametrize("skew", [0, 4])
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
async def test_a_page_is_read_however_it_lies(reader: Reader, turned: int, skew: int, engine: Kind) -> None:
    """And its words are where they are seen, in words.json and in the PDF alike."""
    reader = await reader.with_engine(engine)
    image = pictures.page(dpi=150).rotate(skew, Image.Resampling.BICUBIC, fillcolor=255)
    image = image.rotate(turned, expand=True)
    done = await reader.read(pictures.encoded(image, "PNG", dpi=(150, 150)))
    assert word_f1(await reader.text(done), TEXT) > 0.95
    (page,) = await reader.words(done)
    assert (page["width"], page["height"]) == image.size
    seen = next(word["box"] for word in words_of([page]) if word["text"] == "dozen")
    shown = image.crop(seen).convert("L")
    assert min(shown.tobytes()) < 100 < max(shown.tobytes())  # there is ink in the box, and paper
    (sheet,) = pypdfium2.PdfDocument(await reader.artifact(done, "document.pdf"))
    textpage = sheet.get_textpage()
    place = textpage.get_text_range().index("dozen")
    left, bottom, right, top = textpage.get_charbox(place)
    x, y = (left + right) / 2 * 150 / 72, (sheet.get_height() - (bottom + top) / 2) * 150 / 72
    assert seen[0] - 8 <= x <= seen[2] + 8
    assert seen[1] - 8 <= y <= seen[3] + 8


async def test_a_blank_page_costs_one_look(reader: Reader) -> None:
    done = await reader.read(pictures.encoded(Image.new("L", (1200, 1600), 255), "PNG"))
    assert (await reader.text(done)).strip("\n\f ") == ""
    assert done.result["confidence"] is None


async def test_what_is_tried_again_is_kept_only_if_it_is_better(reader: Reader, scans: Path) -> None:
    """A receipt of which the automatic mode makes little; and one that it reads well, which is left alone."""
    passes = {}
    for name, at_least in (("260", 0.6), ("156", 0.9)):
        content = (scans / "receipts" / f"{name}.jpg").read_bytes()
        done = await reader.read(content)
        rows = (scans / "receipts" / f"{name}.csv").read_text(errors="replace").splitlines()
        truth = " ".join(",".join(row.split(",")[8:]) for row in rows)
        assert word_f1(await reader.text(done), truth) >= at_least
        await committed(reader, done)
        (row,) = await reader.deps.database.fetch("SELECT summary FROM ocr.readings ORDER BY read_at DESC LIMIT 1")
        passes[name] = row[0]["passes"]
    assert passes["260"] > 1
    assert passes["156"] == 1


async def test_skewed_scans_are_read_as_well_as_the_straight_one(reader: Reader, scans: Path) -> None:
    truth = (scans / "linn.txt").read_text()
    straight = word_f1(await reader.text(await reader.read((scans / "linn.png").read_bytes())), truth)
    for name in ("skew.pdf", "rotated_skew.pdf"):
        done = await reader.read((scans / name).read_bytes())
        assert word_f1(await reader.text(done), truth) > straight - 0.02, name


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


async def test_a_page_read_before_is_not_read_again(reader: Reader) -> None:
    content = pictures.scanned_pdf([pictures.page(["A page that comes twice."]), pictures.page(["Another one."])])
    other = pictures.scanned_pdf([pictures.page(["A page that comes twice."]), pictures.page(["A new one."])])

    async def engine_time(name: bytes, **how: Any) -> list[bool]:
        done = await reader.read(name, **how)
        await committed(reader, done)
        rows = await reader.deps.database.fetch("SELECT count(*) FROM ocr.readings")
        counts.append(rows[0][0])
        return [text.strip() != "" for text in (await reader.text(done)).split("\f")[:2]]

    counts: list[int] = []
    # The runtime commits a child's effects; run inline they are not entered, so the pages are read one by one.
    for number in ("1", "2"):
        await engine_time(content, pages=number)
    before = counts[-1]
    assert await engine_time(content, pages="1") == [True, False]
    assert counts[-1] == before
    await engine_time(other, pages="1")  # another file, the same picture
    assert counts[-1] == before
    await engine_time(content, pages="1", psm=6)
    await engine_time(content, pages="1", tenant="another")
    await engine_time(other, pages="2")
    assert [later - earlier for earlier, later in pairwise(counts[-4:])] == [1, 1, 1]


async def test_a_reading_whose_files_are_gone_is_made_anew(reader: Reader) -> None:
    content = pictures.encoded(pictures.page(["Lost and found again."]), "PNG")
    done = await reader.read(content)
    await committed(reader, done)
    (row,) = await reader.deps.database.fetch("SELECT folder FROM ocr.readings ORDER BY read_at DESC LIMIT 1")
    for suffix in (".txt", ".json", ".pdf"):
        await reader.blobs.delete(f"{row[0]}{suffix}")
    again = await reader.read(content)
    assert "Lost and found again." in await reader.text(again)
    await committed(reader, again)


async def test_every_format_says_the_same(reader: Reader) -> None:
    lines = ["Fish & Chips <fresh> daily", *LINES]
    content = pictures.scanned_pdf([pictures.page(lines), pictures.page(["The second page."])])
    done = await reader.read(content)
    words = [word["text"] for word in words_of(await reader.words(done))]
    hocr = ET.fromstring(await reader.artifact(done, "document.hocr"))  # noqa: S314 - our own
    assert ["".join(e.itertext()) for e in hocr.iter() if e.get("class") == "ocrx_word"] == words
    assert sum(element.get("class") == "ocr_page" for element in hocr.iter()) == 2
    alto = ET.fromstring(await reader.artifact(done, "document.alto.xml"))  # noqa: S314
    assert [element.get("CONTENT") for element in alto.iter() if element.tag.endswith("}String")] == words
    rows = [row.split("\t") for row in (await reader.artifact(done, "words.tsv")).decode().splitlines()]
    assert [row[11] for row in rows if row[0] == "5"] == words
    assert {len(row) for row in rows} == {12}


async def test_the_pdf_keeps_what_the_original_had(reader: Reader) -> None:
    """Pictures byte by byte, title, outline; and it is hardly larger."""
    noisy = [Image.effect_noise((1275, 1650), 60) for _ in range(2)]
    for image in noisy:
        image.paste(pictures.page().crop((0, 0, 1275, 600)))
    with pikepdf.open(io.BytesIO(pictures.scanned_pdf(noisy))) as document:
        with document.open_metadata() as metadata:
            metadata["dc:title"] = "A title"
        with document.open_outline() as outline:
            outline.root.append(pikepdf.OutlineItem("Second", 1))
        buffer = io.BytesIO()
        document.save(buffer)
    done = await reader.read(buffer.getvalue(), dpi=150)
    result = await reader.artifact(done, "document.pdf")
    assert len(result) <= 1.1 * len(buffer.getvalue())
    with pikepdf.open(buffer) as before, pikepdf.open(io.BytesIO(result)) as after:
        raw = [
            [next(iter(page.get_images().values())).read_raw_bytes() for page in document.pages]
            for document in (before, after)
        ]
        assert raw[0] == raw[1]
        with after.open_metadata() as metadata:
            assert metadata["dc:title"] == "A title"
        with after.open_outline() as outline:
            assert [item.title for item in outline.root] == ["Second"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_a_picture_is_not_encoded_anew(reader: Reader, kind: str) -> None:
    image = Image.effect_noise((1275, 1650), 30)
    image.paste(pictures.page().crop((0, 0, 1275, 900)))
    content = pictures.encoded(image, kind)
    done = await reader.read(content)
    result = await reader.artifact(done, "document.pdf")
    assert len(result) <= 1.1 * len(content)
    with pikepdf.open(io.BytesIO(result)) as document:
        picture = next(iter(document.pages[0].get_images().values()))
        assert isinstance(picture, pikepdf.Stream)
        if kind == "JPEG":
            assert picture.read_raw_bytes() == content
        assert pikepdf.PdfImage(picture).as_pil_image().tobytes() == Image.open(io.BytesIO(content)).tobytes()


async def test_a_page_known_from_elsewhere_gets_its_own_number(reader: Reader) -> None:
    """The same picture as page 1 of one document and page 2 of another; ids in the formats are not given twice."""
    known = pictures.page(["Known from elsewhere."])
    first = await reader.read(pictures.scanned_pdf([known]))
    await committed(reader, first)
    done = await reader.read(pictures.scanned_pdf([pictures.page(["A first page."]), known]))
    assert [page["number"] for page in await reader.words(done)] == [1, 2]
    hocr = ET.fromstring(await reader.artifact(done, "document.hocr"))  # noqa: S314 - our own
    ids = [element.get("id") for element in hocr.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
async def test_text_of_turned_and_cropped_pages_is_where_it_is_seen(reader: Reader, rotation: int) -> None:
    with pikepdf.open(io.BytesIO(pictures.text_pdf("Typed by a machine long ago"))) as document:
        document.pages[0].Rotate = rotation
        document.pages[0].CropBox = pikepdf.Array([30, 100, 600, 760])
        buffer = io.BytesIO()
        document.save(buffer)
    content = buffer.getvalue()
    (page,) = await reader.words(await reader.read(content, dpi=100))
    drawn = pypdfium2.PdfDocument(content)[0].render(scale=100 / 72, grayscale=True).to_pil()
    assert abs(drawn.width - page["width"]) <= 1
    box = next(word["box"] for word in words_of([page]) if word["text"] == "machine")
    inked = drawn.point(lambda value: 255 * (value < 128)).crop(box)
    assert sum(inked.histogram()[255:]) > 50


async def test_an_animated_png_is_read_frame_by_frame(reader: Reader) -> None:
    frames = [pictures.page([f"Frame number {name} is here."]) for name in ("one", "two")]
    content = pictures.encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    done = await reader.read(content)
    assert done.result["pages"] == 2
    with pikepdf.open(io.BytesIO(await reader.artifact(done, "document.pdf"))) as document:
        assert len(document.pages) == 2


async def test_time_that_runs_out_costs_the_further_looks_only(reader: Reader, tmp_path: Path) -> None:
    upside_down = pictures.page().rotate(180)
    path = pictures.write(tmp_path, "page.png", pictures.encoded(upside_down, "PNG"))
    engine = reader.deps.engine
    hurried = Recogniser(engine, path, tmp_path / "page", languages="eng", psm=3, dpi=150, until=0.0).read()
    assert hurried.passes == 1


async def test_a_sandboxed_process_can_answer_only_with_what_it_should(reader: Reader) -> None:
    with pytest.raises(PageCrashed):
        await reader.deps.sandbox.run(an_answer_that_runs_something)


def an_answer_that_runs_something() -> object:
    return Exploding()


class Exploding:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 0",)
