"""Pages of picture files as Tesseract can read them: the file itself where that will do, never too many pixels."""

from pathlib import Path

import pytest
from PIL import Image, ImageStat
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from services.ocr import pictures as ocr_pictures
from services.ocr.pictures import (
    LONGEST_EDGE,
    PageImage,
    coloured_picture,
    decode,
    prepare_image,
    shown_picture,
    stored_pictures,
)
from services.ocr.refusals import ImageTooLarge, UnreadableDocument
from tests import pictures

MANY = 10**9
"""Pixels, or pages: no bound."""


def noted(folder: Path, image: Image.Image, kind: str = "PNG", **options: object) -> Path:
    return pictures.write(folder, "source", pictures.encoded(image, kind, **options))


def level(page: Image.Image, x: int, y: int) -> int:
    found = page.getpixel((x, y))
    assert isinstance(found, int)
    return found


def prepared(source: Path, pixels_at_most: int = MANY, frame: int = 0) -> PageImage:
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
    monkeypatch.setattr(ocr_pictures, "DECODED_PIXELS_AT_MOST", 100)
    with pytest.raises(ImageTooLarge, match="11 × 10"):
        prepared(noted(tmp_path, Image.new("L", (11, 10))))
    assert prepared(noted(tmp_path, Image.new("L", (10, 10)))).width == 10


@pytest.mark.parametrize(("stated", "believed"), [(1, None), (69, None), (70, 70), (2400, 2400), (3000, None)])
def test_a_resolution_is_believed_if_it_can_be_true(tmp_path: Path, stated: int, believed: int | None) -> None:
    (stored,) = stored_pictures(noted(tmp_path, Image.new("L", (9, 9)), "TIFF", dpi=(stated, stated)))
    assert stored.dpi == (None if believed is None else (believed, believed))


def test_frames_are_counted_and_each_is_found(tmp_path: Path) -> None:
    frames = [Image.new("L", (9, 9), value) for value in (0, 100, 200)]
    source = noted(tmp_path, frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert len(stored_pictures(source)) == 3
    for number, value in enumerate((0, 100, 200)):
        with prepared(source, frame=number).open() as image:
            assert image.getpixel((0, 0)) == value
    shown = [shown_picture(source, stored, (9, 9)) for stored in stored_pictures(source)]
    assert [image.getpixel((0, 0)) for image in shown] == [0, 100, 200]


def test_small_copies_and_masks_in_a_tiff_are_no_pages(tmp_path: Path) -> None:
    frames = [Image.new("L", (edge, edge), edge) for edge in (64, 32, 16, 60)]
    for frame, kind in zip(frames, (0, 1, 4, 0), strict=True):
        tags = ImageFileDirectory_v2()
        tags[ocr_pictures.SUBFILE_TYPE] = kind
        frame.encoderinfo = {"tiffinfo": tags}
    source = noted(tmp_path, frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert len(stored_pictures(source)) == 2
    assert [prepared(source, frame=number).width for number in range(2)] == [64, 60]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "MPO", "AVIF"])
def test_an_animation_or_a_small_copy_is_no_further_page(tmp_path: Path, kind: str) -> None:
    first, second = Image.new("RGB", (64, 64), "black"), Image.new("RGB", (64, 64), "white")
    source = noted(tmp_path, first, kind, save_all=True, append_images=[second])
    assert len(stored_pictures(source)) == 1
    with prepared(source).open() as page:
        assert level(page.convert("L"), 30, 30) < 10


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "GIF", "BMP", "JPEG2000"])
def test_formats_that_people_have(tmp_path: Path, kind: str) -> None:
    image = Image.new("L", (80, 60), 255)
    image.paste(0, (0, 0, 40, 60))
    page = prepared(noted(tmp_path, image.convert("RGB"), kind))
    assert (page.width, page.height, page.damaged) == (80, 60, False)
    with page.open() as grey:
        assert level(grey, 20, 30) < 20
        assert level(grey, 60, 30) > 235


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_seen_as_it_is_meant(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ocr_pictures.ORIENTATION] = orientation
    stored = Image.new("L", (64, 32), 255)
    stored.paste(0, (0, 0, 32, 16))  # black where the stored rows begin
    page = prepared(noted(tmp_path, stored, kind, exif=exif))
    turned = orientation in ocr_pictures.QUARTER_TURNED
    assert (page.width, page.height) == ((32, 64) if turned else (64, 32))
    corners = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}
    with page.open() as seen:
        for across in (0, 1):
            for down in (0, 1):
                found = level(seen, across * (page.width - 1), down * (page.height - 1))
                assert (found < 128) is ((across, down) == corners[orientation])


def test_pixels_are_made_square(tmp_path: Path) -> None:
    page = prepared(noted(tmp_path, Image.new("1", (1728, 1145), 1), "TIFF", dpi=(204, 98)))
    assert (page.width, page.height, page.dpi) == (1728, round(1145 * 204 / 98), 204)
    source = noted(tmp_path, Image.new("RGB", (100, 50), "red"), "JPEG", dpi=(200, 100))
    assert coloured_picture(source, 0, (100, 100)).size == (100, 100)


def test_each_frame_has_its_own_resolution(tmp_path: Path) -> None:
    frames = [Image.new("L", (30, 30)) for _ in range(2)]
    for frame, dpi in zip(frames, (300, 150), strict=True):
        frame.encoderinfo = {"dpi": (dpi, dpi)}
    source = noted(tmp_path, frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert [prepared(source, frame=number).dpi for number in range(2)] == [300, 150]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_a_file_that_ends_too_early_is_read_as_far_as_it_goes(tmp_path: Path, kind: str) -> None:
    noisy = pictures.noise((200, 200), 90)
    source = noted(tmp_path, noisy, kind)
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 4 // 5])
    if kind == "TIFF":
        source.write_bytes(content[:-8000])
    page = prepared(source)
    assert page.damaged
    with page.open() as seen:
        assert seen.size == (200, 200)
        assert seen.getpixel((100, 199)) == 255, "what is missing is white"
        assert 20 < ImageStat.Stat(seen.crop((0, 0, 200, 100))).mean[0] < 235


def test_a_page_that_ends_in_white_paper_lacks_no_rows(tmp_path: Path) -> None:
    """Each scan of a progressive JPEG has all rows, the first one coarsely."""
    source = noted(tmp_path, pictures.page(), "JPEG", progressive=True, quality=90)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 4 // 5])
    page = prepared(source)
    assert page.damaged
    with page.open() as seen:
        assert ImageStat.Stat(seen.crop((0, 0, seen.width, seen.height // 4))).extrema[0][0] < 100


def test_of_less_than_half_nothing_is_read(tmp_path: Path) -> None:
    source = noted(tmp_path, pictures.noise((200, 200), 90), "PNG")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 3])
    with pytest.raises(UnreadableDocument):
        prepared(source)


def test_a_whole_file_is_not_called_damaged(tmp_path: Path) -> None:
    source = noted(tmp_path, Image.new("RGB", (50, 50)), "WEBP")
    (stored,) = stored_pictures(source)
    assert not decode(source, stored, (50, 50)).damaged
