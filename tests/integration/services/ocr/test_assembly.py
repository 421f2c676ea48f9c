"""The searchable PDF is the original with words over it."""

import io
import shutil
import subprocess
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
from PIL import Image

from services.ocr import assembly, picture_pdf
from services.ocr.page_reading import PageFiles
from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.pictures import LINES, word_f1


async def test_the_pdf_keeps_what_the_original_had(reader: Reader) -> None:
    """Pictures byte by byte, title, outline; and it is hardly larger."""
    noisy = [pictures.noise((1275, 1650), 60) for _ in range(2)]
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
    image = pictures.noise((1275, 1650), 30)
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


async def test_of_an_animated_png_the_first_frame_is_the_page(reader: Reader) -> None:
    frames = [pictures.page([f"Frame number {name} is here."]) for name in ("one", "two")]
    content = pictures.encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    done = await reader.read(content)
    assert done.result["pages"] == 1
    assert "number one" in await reader.text(done)
    with pikepdf.open(io.BytesIO(await reader.artifact(done, "document.pdf"))) as document:
        assert len(document.pages) == 1


async def test_a_file_that_ends_too_early_is_read_with_a_warning(reader: Reader) -> None:
    content = pictures.encoded(pictures.page(mode="RGB"), "JPEG")
    done = await reader.read(content[: len(content) * 19 // 20])
    assert word_f1(await reader.text(done), " ".join(LINES)) > 0.95
    assert [(warning["code"], warning["pages"]) for warning in done.result["warnings"]] == [
        ("picture_damaged", [1])
    ]


async def test_a_document_that_looks_otherwise_is_made_anew(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the fault is: here, the usual way to write a picture leaves it white."""
    source = pictures.write(tmp_path, "source", pictures.encoded(pictures.page(), "PNG"))
    files = PageFiles(tmp_path, 1)
    files.path(".txt").write_text("")
    files.path(".json").write_text(
        '{"number":1,"width":9,"height":9,"dpi":300,"source":"ocr","confidence":null,"blocks":[]}'
    )
    real = picture_pdf.write_pdf

    def white(source: Path, folder: Path, path: Path, *, anew: set[int]) -> None:
        real(source if anew else white_source, folder, path, anew=anew)

    white_source = pictures.write(
        tmp_path, "white", pictures.encoded(Image.new("L", pictures.page().size, 255), "PNG")
    )
    monkeypatch.setattr(assembly, "write_pdf", white)
    assert assembly.assemble(source, "image/png", tmp_path, [1]).differing == ()
    (page,) = pypdfium2.PdfDocument(tmp_path / "document.pdf")
    assert page.render(grayscale=True).to_pil().convert("L").getextrema()[0] < 128


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
async def test_the_searchable_pdf_keeps_its_pictures_and_has_the_words_over_them(
    reader: Reader, rotation: int
) -> None:
    content = _turned(pictures.scanned_pdf([pictures.page()]), rotation)
    done = await reader.read(content, dpi=150)
    result = await reader.artifact(done, "document.pdf")
    with pikepdf.open(io.BytesIO(content)) as before, pikepdf.open(io.BytesIO(result)) as after:
        pictures_of = [next(iter(document.pages[0].get_images().values())) for document in (before, after)]
        assert pictures_of[0].read_raw_bytes() == pictures_of[1].read_raw_bytes()
    (page,) = pypdfium2.PdfDocument(result)
    textpage = page.get_textpage()
    text = textpage.get_text_range()
    assert word_f1(text, " ".join(LINES)) > 0.95
    # Where a reader of the PDF finds a word is where the picture shows it.
    left, bottom, right, top = textpage.get_charbox(text.index("quick"))
    seen = next(
        word
        for page_ in await reader.words(done)
        for block in page_["blocks"]
        for line in block["lines"]
        for word in line["words"]
        if word["text"] == "quick"
    )
    corners = [_to_visible(page, left, bottom), _to_visible(page, right, top)]
    x, y = min(corner[0] for corner in corners), max(corner[1] for corner in corners)
    assert abs(x - seen["box"][0] * 72 / 150) < 4
    assert abs(y - seen["box"][3] * 72 / 150) < 6


@pytest.mark.skipif(
    not (shutil.which("pdftotext") and shutil.which("qpdf")), reason="no poppler-utils and qpdf here"
)
async def test_other_readers_of_pdf_find_no_fault_and_the_same_words(reader: Reader, tmp_path: Path) -> None:
    # -raw: by default pdftotext puts lines that slope by more than two degrees in an order of its own, anybody's.
    skewed = pictures.encoded(pictures.page().rotate(3, fillcolor=255), "JPEG", dpi=(150, 150))
    for content in (pictures.scanned_pdf([pictures.page(), pictures.page(["Another page"])]), skewed):
        done = await reader.read(content)
        path = pictures.write(tmp_path, "document.pdf", await reader.artifact(done, "document.pdf"))
        checked = subprocess.run(["qpdf", "--check", path], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        found = subprocess.run(["pdftotext", "-raw", path, "-"], capture_output=True, text=True, check=True)
        assert not found.stderr
        assert word_f1(found.stdout, await reader.text(done)) > 0.98


def _turned(content: bytes, rotation: int) -> bytes:
    """The same page stored turned, with /Rotate to turn it back."""
    buffer = io.BytesIO(b"")
    with pikepdf.open(io.BytesIO(content)) as document:
        page = document.pages[0]
        if rotation:
            image = pictures.page().rotate(rotation, expand=True)
            with pikepdf.open(io.BytesIO(pictures.scanned_pdf([image]))) as turned:
                document.pages.append(turned.pages[0])
                del document.pages[0]
                page = document.pages[0]
        page.Rotate = rotation
        document.save(buffer)
    result: bytes = buffer.getvalue()
    return result


def _to_visible(page: pypdfium2.PdfPage, x: float, y: float) -> tuple[float, float]:
    """A point of the page's own space, as points from the left and the top of the page as shown."""
    left, bottom, right, top = page.get_mediabox()
    match page.get_rotation():
        case 90:
            return y - bottom, x - left
        case 180:
            return right - x, y - bottom
        case 270:
            return top - y, right - x
    return x - left, top - y


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2, 9), (3000, 1)])
async def test_the_smallest_picture_makes_a_page(reader: Reader, size: tuple[int, int]) -> None:
    done = await reader.read(pictures.encoded(Image.new("L", size, 255), "PNG"))
    (page,) = pypdfium2.PdfDocument(await reader.artifact(done, "document.pdf"))
    assert min(page.get_size()) >= 3
    assert done.result["preview"] == ""
