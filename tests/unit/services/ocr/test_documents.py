"""Pages as pictures that Tesseract can read: the file itself where that will do, and never too many pixels."""

from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from services.ocr import documents
from services.ocr.documents import (
    LONGEST_EDGE,
    count_frames,
    count_pages,
    flattened_frames,
    prepare_image,
    rasterise_pdf_page,
    resolution_of,
)
from services.ocr.refusals import EmptyDocument, ImageTooLarge, TooManyPages, UnreadableDocument
from tests import pictures

MANY = 10**9
"""Pixels, or pages: no bound."""


def noted(folder: Path, image: Image.Image, kind: str = "PNG", **options: object) -> Path:
    return pictures.write(folder, "source", pictures.encoded(image, kind, **options))


def prepared(source: Path, pixels_at_most: int = MANY, frame: int = 0) -> documents.PageImage:
    return prepare_image(source, frame, pixels_at_most, source.with_name("page.ppm"))


@pytest.mark.parametrize(("mode", "kind"), [("1", "PNG"), ("L", "PNG"), ("RGB", "PNG"), ("L", "JPEG")])
def test_a_picture_that_will_do_is_taken_as_it_is(tmp_path: Path, mode: str, kind: str) -> None:
    source = noted(tmp_path, Image.new(mode, (60, 40), 1), kind, dpi=(200, 200))
    picture = prepared(source)
    assert (picture.path, picture.width, picture.height, picture.dpi) == (source, 60, 40, 200)


def test_of_too_many_pixels_as_many_are_left_as_may_be_and_the_resolution_is_not_known(tmp_path: Path) -> None:
    picture = prepared(noted(tmp_path, Image.new("L", (600, 400), 255), dpi=(200, 200)), pixels_at_most=60_000)
    assert (picture.width, picture.height, picture.dpi) == (300, 200, None)
    with picture.open() as image:
        assert (image.size, image.mode) == ((300, 200), "L")


def test_no_edge_is_longer_than_tesseract_reads(tmp_path: Path) -> None:
    picture = prepared(noted(tmp_path, Image.new("1", (LONGEST_EDGE + 1000, 10), 1)))
    assert picture.width <= LONGEST_EDGE
    assert picture.height >= 1


def test_what_is_see_through_is_white_and_what_has_16_bits_is_not_cut_off(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    deep = Image.new("I;16", (4, 4), 0x8000)
    for image, value in ((clear, 255), (deep, 128)):
        with prepared(noted(tmp_path, image)).open() as grey:
            assert (grey.mode, grey.getpixel((1, 1))) == ("L", value)


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = prepared(noted(tmp_path, Image.new("L", (60, 40), 255), "JPEG", exif=exif))
    assert (picture.width, picture.height) == (40, 60)


def test_what_says_that_it_is_vast_is_not_even_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DECODED_PIXELS_AT_MOST", 100)
    with pytest.raises(ImageTooLarge, match="11 × 10"):
        prepared(noted(tmp_path, Image.new("L", (11, 10))))
    assert prepared(noted(tmp_path, Image.new("L", (10, 10)))).width == 10


@pytest.mark.parametrize(("stated", "believed"), [(1, None), (69, None), (70, 70), (2400, 2400), (3000, None)])
def test_a_resolution_is_believed_if_it_can_be_true(tmp_path: Path, stated: int, believed: int | None) -> None:
    assert resolution_of(noted(tmp_path, Image.new("L", (9, 9)), "TIFF", dpi=(stated, stated))) == believed


def test_frames_are_counted_and_each_is_found(tmp_path: Path) -> None:
    frames = [Image.new("L", (9, 9), value) for value in (0, 100, 200)]
    source = noted(tmp_path, frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert count_frames(source) == count_pages(source, "image/tiff", 3) == 3
    for number, value in enumerate((0, 100, 200)):
        with prepared(source, frame=number).open() as image:
            assert image.getpixel((0, 0)) == value
    drawn = list(flattened_frames(source, tmp_path))
    assert [Image.open(path).getpixel((0, 0)) for path in drawn] == [0, 100, 200]


def test_bounds_of_pages(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "two.pdf", pictures.scanned_pdf([pictures.page(dpi=20)] * 2))
    assert count_pages(source, documents.PDF, 2) == 2
    with pytest.raises(TooManyPages, match="2 pages; at most 1"):
        count_pages(source, documents.PDF, 1)
    with pytest.raises(EmptyDocument):
        count_pages(pictures.write(tmp_path, "empty", b""), documents.PDF, 2)
    with pytest.raises(UnreadableDocument):
        count_pages(source, "image/png", 2)


def test_a_pdf_page_is_drawn_with_as_many_dots_as_may_be(tmp_path: Path) -> None:
    page = pypdfium2.PdfDocument(pictures.text_pdf("x"))[0]  # 612 × 792 points
    full = rasterise_pdf_page(page, 144, MANY, tmp_path / "full.ppm")
    assert (full.width, full.height, full.dpi) == (1224, 1584, 144)
    less = rasterise_pdf_page(page, 144, 612 * 792, tmp_path / "less.ppm")
    assert (less.width, less.height, less.dpi) == (612, 792, 72)
