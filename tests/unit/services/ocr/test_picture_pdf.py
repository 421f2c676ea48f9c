"""A picture file becomes a PDF that shows what a viewer shows, and is hardly larger."""

import io
import struct
from pathlib import Path
from typing import Any

import pikepdf
import pypdfium2
import pytest
from PIL import Image, ImageOps

from services.ocr.comparison import differing_pages
from services.ocr.picture_pdf import QUALITIES, write_pdf
from services.ocr.pictures import ORIENTATION, QUARTER_TURNED
from tests import pictures

A4 = (595, 842)


def pdf_of(folder: Path, content: bytes) -> Path:
    source = pictures.write(folder, "source", content)
    write_pdf(source, folder, folder / "result.pdf")
    return folder / "result.pdf"


def sizes(path: Path) -> list[tuple[int, int]]:
    return [(round(page.get_width()), round(page.get_height())) for page in pypdfium2.PdfDocument(path)]


def picture_of(page: pikepdf.Page) -> pikepdf.PdfImage:
    picture = next(iter(page.get_images().values()))
    assert isinstance(picture, pikepdf.Stream)
    return pikepdf.PdfImage(picture)


def filters_of(path: Path) -> list[str]:
    with pikepdf.open(path) as document:
        return [picture_of(page).filters[0] for page in document.pages]


def shows(folder: Path, path: Path) -> bool:
    return differing_pages(path, folder / "source", "image/any", [1]) == []


NOISE = pictures.noise((425, 550), 40).point(lambda level: min(255, level + 90))
NOISY_PAGE = Image.composite(NOISE, Image.new("L", NOISE.size, 0), pictures.page(dpi=50)).convert("RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_every_orientation_is_shown_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = pdf_of(tmp_path, pictures.encoded(pictures.page(dpi=72), kind, exif=exif, dpi=(72, 72)))
    expected = (792, 612) if orientation in QUARTER_TURNED else (612, 792)
    if kind != "WEBP":  # it has no resolution
        assert sizes(path) == [expected]
    assert shows(tmp_path, path)


def test_a_turned_photograph_is_not_encoded_anew(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 7
    content = pictures.encoded(pictures.page(), "JPEG", exif=exif)
    with pikepdf.open(pdf_of(tmp_path, content)) as document:
        assert picture_of(document.pages[0]).obj.read_raw_bytes() == content


def test_a_fax_is_as_high_as_its_paper(tmp_path: Path) -> None:
    fax = Image.new("1", (1728, 1145), 1)
    path = pdf_of(tmp_path, pictures.encoded(fax, "TIFF", compression="group4", dpi=(204, 98)))
    assert sizes(path) == [(610, 841)]
    assert filters_of(path) == ["/CCITTFaxDecode"]


def test_each_frame_has_its_own_size(tmp_path: Path) -> None:
    frames = [Image.new("L", size, 255) for size in ((2480, 3508), (1240, 1754), (1166, 1654))]
    for frame, dpi in zip(frames, (300, 150, 200), strict=True):
        frame.encoderinfo = {"dpi": (dpi, dpi)}
    content = pictures.encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert sizes(pdf_of(tmp_path, content)) == [A4, A4, (420, 595)]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (20_000, 10)])
def test_no_page_is_smaller_or_larger_than_a_page_may_be(tmp_path: Path, size: tuple[int, int]) -> None:
    path = pdf_of(tmp_path, pictures.encoded(Image.new("L", size, 90), "PNG", dpi=(72, 72)))
    (edges,) = sizes(path)
    assert min(edges) >= 3
    assert max(edges) <= 14_400
    assert shows(tmp_path, path)


def transparent_palette() -> Image.Image:
    page = pictures.page(dpi=72).convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    page.info["transparency"] = page.getpixel((0, 0))
    return page


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (transparent_palette(), "PNG", {"bits": 4}),
        (transparent_palette(), "GIF", {}),
        (pictures.page(dpi=72), "PNG", {"transparency": 255}),
        (ImageOps.invert(pictures.page(dpi=72)).convert("1"), "PNG", {"transparency": 0}),
        (pictures.page(dpi=72, mode="RGB").convert("RGBA"), "TIFF", {}),
        (pictures.page(dpi=72).convert("I").point(lambda level: level * 257).convert("I;16"), "PNG", {}),
        (pictures.page(dpi=72, mode="RGB").convert("CMYK"), "JPEG", {}),
        (pictures.page(dpi=72, mode="RGB").convert("CMYK"), "TIFF", {}),
        (pictures.page(dpi=72, mode="RGB").convert("LAB"), "TIFF", {}),
        (pictures.page(dpi=72), "JPEG2000", {}),
        (pictures.page(dpi=72), "BMP", {}),
        (pictures.page(dpi=72, mode="RGB"), "HEIF", {}),
        (pictures.page(dpi=72, mode="RGB"), "AVIF", {}),
    ],
    ids=["palette", "gif", "grey", "bilevel", "tiff", "deep", "cmyk", "inks", "lab", "jp2", "bmp", "heic", "avif"],
)  # fmt: skip
def test_any_picture_is_shown_as_it_looks(tmp_path: Path, image: Image.Image, kind: str, options: Any) -> None:
    path = pdf_of(tmp_path, pictures.encoded(image, kind, **options))
    assert shows(tmp_path, path)
    drawn = pypdfium2.PdfDocument(path)[0].render(scale=3, grayscale=True).to_pil().convert("L")
    assert drawn.getextrema()[1] - drawn.getextrema()[0] > 100, "there is something to see"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 60}),
        ("TIFF", {"compression": "jpeg", "quality": 60}),
        ("WEBP", {"quality": 60}),
        ("HEIF", {"quality": 60}),
        ("JPEG2000", {}),
    ],
)
def test_it_is_hardly_larger_than_the_file(tmp_path: Path, kind: str, options: Any) -> None:
    content = pictures.encoded(NOISY_PAGE, kind, **options)
    path = pdf_of(tmp_path, content)
    assert shows(tmp_path, path)
    smallest = pictures.encoded(NOISY_PAGE, "JPEG", quality=QUALITIES[-1])
    assert path.stat().st_size <= max(1.2 * len(content), 1.05 * len(smallest))


FEW_COLOURS = pictures.page(dpi=150).convert("1", dither=Image.Dither.NONE)


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (FEW_COLOURS, "TIFF", {"compression": "group4", "exif": {ORIENTATION: 6}}),
        (FEW_COLOURS, "PNG", {"transparency": 1}),
        (FEW_COLOURS.convert("L").point(lambda level: 16 * (level // 17)), "WEBP", {"lossless": True}),
        (pictures.page(dpi=150, mode="RGB").quantize(8), "PNG", {"transparency": 0}),
    ],
    ids=["turned", "bilevel", "grey", "palette"],
)
def test_few_colours_need_few_bytes(tmp_path: Path, image: Image.Image, kind: str, options: Any) -> None:
    content = pictures.encoded(image, kind, **options)
    assert pdf_of(tmp_path, content).stat().st_size <= 1.2 * len(content) + 1500, "a PDF has more around a picture"
    assert shows(tmp_path, tmp_path / "result.pdf")


def test_what_lost_nothing_loses_nothing(tmp_path: Path) -> None:
    content = pictures.encoded(pictures.noise((200, 200), 60), "WEBP", lossless=True)
    with pikepdf.open(pdf_of(tmp_path, content)) as document:
        picture = picture_of(document.pages[0]).as_pil_image()
    assert picture.convert("RGB").tobytes() == Image.open(io.BytesIO(content)).convert("RGB").tobytes()


def test_pages_are_encoded_anew_if_they_are_named(tmp_path: Path) -> None:
    frames = [pictures.page(dpi=50).convert("1")] * 2
    content = pictures.encoded(frames[0], "TIFF", compression="group4", save_all=True, append_images=frames[1:])
    source = pictures.write(tmp_path, "source", content)
    write_pdf(source, tmp_path, tmp_path / "result.pdf", anew={1})
    assert filters_of(tmp_path / "result.pdf")[0] == "/CCITTFaxDecode"
    assert differing_pages(tmp_path / "result.pdf", source, "image/tiff", [1, 2]) == []


def test_of_an_animation_there_is_one_page(tmp_path: Path) -> None:
    frames = [pictures.page([name], dpi=50).convert("RGB") for name in ("one", "two")]
    for kind in ("GIF", "PNG", "MPO", "WEBP"):
        content = pictures.encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert len(sizes(pdf_of(tmp_path, content))) == 1


def test_a_row_of_a_fax_that_is_too_long_is_cut_in_the_document_too(tmp_path: Path) -> None:
    """The strip is coded for a wider page than the file says, as if each row went on beyond the margin."""
    wide = pictures.page(dpi=100).convert("1")
    content = bytearray(pictures.encoded(wide, "TIFF", compression="group4"))
    order = "<" if content[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", content, 4)
    (entries,) = struct.unpack_from(f"{order}H", content, directory)
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from(f"{order}H", content, at)
        if tag == 256:
            struct.pack_into(f"{order}HI", content, at + 2, 4, 1)
            struct.pack_into(f"{order}I", content, at + 8, wide.width - 40)
    assert pdf_of(tmp_path, bytes(content)).exists()
