"""Decodes picture files: which of their frames are pages, and each page upright and in square pixels.

Picture files are untrusted input. Everything here runs in the sandbox.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import pillow_heif
from PIL import AvifImagePlugin, Image, ImageChops, ImageFile
from PIL import Jpeg2KImagePlugin as _Jpeg2K  # noqa: F401 - else each sandboxed process imports all formats
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from libs.common.errors import ArgosyError
from services.ocr.flattening import PLAIN_MODES, grey, plain
from services.ocr.refusals import ImageTooLarge, UnreadableDocument

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "JPEG2000")
"""Pillow's other formats are not enabled. Some of them run external programs."""
DECODED_PIXELS_AT_MOST = 400_000_000
"""Images with more pixels are refused before they are decoded."""
LONGEST_EDGE = 32_000
"""Pixels. Tesseract reads no image with an edge of more than 32,767 pixels."""
ROWS_AT_LEAST = 0.5
"""The share of its rows that a file must have if it ends too early."""
PAPER = 200
"""Level of grey. Decoders fill rows that they lack with black or a medium grey."""
NOT_SQUARE = 1.01
"""If the resolutions across and down differ by more than this factor, the pixels are made square."""
ORIENTATION, SUBFILE_TYPE, OLD_SUBFILE_TYPE, COMPRESSION = 0x0112, 254, 255, 259
"""Tags of TIFF and EXIF."""
REDUCED, MASK, OLD_REDUCED = 1, 4, 2
"""Frames of a TIFF that are no pages: smaller copies, and masks."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LOSSLESS_WEBP, WEBP_HEAD = b"VP8L", 65_536
"""The name of a chunk, and where it begins at the latest in all but odd files: colour profiles come before it."""
QUARTER_TURNED = (5, 6, 7, 8)
"""Orientations in which the stored rows are columns of what is seen."""

Image.MAX_IMAGE_PIXELS = None  # replaced by the limits of this module
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a sandboxed process has one
pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=0)


@dataclass(frozen=True, slots=True)
class PageImage:
    """A page as an image file. `width` and `height` in pixels; `dpi` is None if not known.

    `damaged`: its file ends too early or has errors. What is missing is white.
    """

    path: Path
    width: int
    height: int
    dpi: int | None
    damaged: bool = False

    @contextmanager
    def open(self) -> Iterator[Image.Image]:
        """Open and decode the image."""
        with Image.open(self.path) as image:
            image.load()
            yield image


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file says about the picture of a page. `width`, `height` and `dpi` are those of the stored rows."""

    format: str
    mode: str
    frame: int
    is_alone: bool
    """The file has no other frame."""
    width: int
    height: int
    dpi: tuple[float, float] | None
    """Across and down, or None if it is not stated or not plausible."""
    orientation: int
    """1 to 8, as in TIFF and EXIF: what has to be done to the stored rows for them to be upright."""
    compression: str
    see_through: bool

    @property
    def suits_tesseract(self) -> bool:
        """Whether Tesseract can read the file itself."""
        plainly = self.mode in PLAIN_MODES and self.orientation == 1 and not self.see_through
        return self.format in ("JPEG", "PNG") and self.is_alone and plainly and self.is_square

    @property
    def is_square(self) -> bool:
        """Whether the pixels are as wide as high."""
        across, down = self.dpi or (1.0, 1.0)
        return max(across, down) <= NOT_SQUARE * min(across, down)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded page, upright, with the pixels of its file. See PageImage for `damaged`."""

    image: Image.Image
    stored: Stored
    damaged: bool

    def squared(self, image: Image.Image) -> Image.Image:
        """Return `image`, which this picture has become, with square pixels."""
        if self.stored.is_square or self.stored.dpi is None:
            return image
        across, down = self.stored.dpi
        if self.stored.orientation in QUARTER_TURNED:
            across, down = down, across
        finest = max(across, down)
        size = (round(image.width * finest / across), round(image.height * finest / down))
        return (image.convert("L") if image.mode == "1" else image).resize(size, Image.Resampling.BICUBIC)


@contextmanager
def open_image(source: Path) -> Iterator[Image.Image]:
    """Open an image file without decoding it. Raises UnreadableDocument, also for what fails in the block."""
    with source.open("rb") as file, _refusing(), Image.open(file, formats=FORMATS) as image:
        yield image  # given the path, Pillow maps some files into memory, and garbles turned TIFF


def stored_pictures(source: Path) -> list[Stored]:
    """Return what an image file says about each frame that is a page. Raises UnreadableDocument.

    Only TIFF has several pages: others have animations, bursts and small copies.
    """
    with open_image(source) as image:
        if not isinstance(image, TiffImageFile):
            return [_stored(image)]
        frames = []
        for frame in range(image.n_frames):
            image.seek(frame)
            kind, old_kind = image.tag_v2.get(SUBFILE_TYPE, 0), image.tag_v2.get(OLD_SUBFILE_TYPE, 0)
            if not kind & (REDUCED | MASK) and old_kind != OLD_REDUCED:
                frames.append(_stored(image))
        if not frames:
            image.seek(0)
            frames.append(_stored(image))
        return frames


def decode(source: Path, stored: Stored, at_least: tuple[int, int], *, mode: str | None = None) -> Picture:
    """Decode a page of an image file.

    `at_least`: pixels that are enough, and `mode`: the mode that is wanted, if the format can leave out the rest.
    Raises UnreadableDocument, ImageTooLarge.
    """
    if stored.width * stored.height > DECODED_PIXELS_AT_MOST:
        raise ImageTooLarge(f"{stored.width} × {stored.height} pixels are more than can be decoded.")
    try:
        with open_image(source) as image:
            image.seek(stored.frame)
            image.draft(mode or image.mode, at_least)
            image.load()
            if stored.format == "PNG":
                stored = replace(stored, orientation=_orientation(image))
            return Picture(_upright(image, stored), stored, damaged=False)
    except UnreadableDocument:
        with open_image(source) as image, _reading_what_there_is():
            image.seek(stored.frame)
            image.load()
            return Picture(_upright(_with_a_white_end(image), stored), stored, damaged=True)


def prepare_image(source: Path, number: int, pixels_at_most: int, path: Path) -> PageImage:
    """Prepare page `number`, counted from 0, for Tesseract.

    That is the file itself if suitable, else a grey copy at `path`: upright, opaque, in square pixels and not too
    many. Raises UnreadableDocument, ImageTooLarge.
    """
    stored = stored_pictures(source)[number]
    size = (stored.width, stored.height)
    dpi = round(max(stored.dpi)) if stored.dpi else None
    fitting = _fit(size, pixels_at_most)
    picture = decode(source, stored, fitting, mode="L")
    if picture.stored.suits_tesseract and not picture.damaged and fitting == size:
        return PageImage(source, *size, dpi)
    image = picture.squared(grey(picture.image))
    fitted = _fit(image.size, pixels_at_most)
    if fitted != image.size:
        image = image.resize(fitted, Image.Resampling.LANCZOS)
    image.save(path, format="PPM")
    scaled = max(image.size) < max(size)
    return PageImage(path, image.width, image.height, None if scaled else dpi, picture.damaged)


def decoded_again(image: PageImage, path: Path) -> PageImage:
    """Write a grey copy of a file that Tesseract cannot decode. Raises UnreadableDocument."""
    (stored,) = stored_pictures(image.path)
    picture = decode(image.path, stored, (image.width, image.height), mode="L")
    grey(picture.image).save(path, format="PPM")
    return replace(image, path=path)


def shown_picture(source: Path, stored: Stored, at_least: tuple[int, int]) -> Image.Image:
    """Decode a page as a viewer shows it: upright, opaque, in sRGB. See `decode`."""
    return plain(decode(source, stored, at_least).image)


def coloured_picture(source: Path, number: int, size: tuple[int, int]) -> Image.Image:
    """Return page `number`, counted from 0, as `prepare_image` prepares it in that size, but in RGB."""
    picture = decode(source, stored_pictures(source)[number], size)
    coloured = picture.squared(plain(picture.image).convert("RGB"))
    return coloured if coloured.size == size else coloured.resize(size, Image.Resampling.LANCZOS)


def _stored(image: Image.Image) -> Stored:
    """What the file says about the frame that is at hand."""
    orientation = _orientation(image)
    width, height = image.size
    if isinstance(image, TiffImageFile) and orientation in QUARTER_TURNED:
        width, height = height, width  # Pillow turns what it says of TIFF
    return Stored(
        format=image.format or "",
        mode=image.mode,
        frame=image.tell(),
        is_alone=getattr(image, "n_frames", 1) == 1,
        width=width,
        height=height,
        dpi=_dpi(image),
        orientation=orientation,
        compression="lossless" if _is_lossless_webp(image) else str(image.info.get("compression", "")),
        see_through=image.has_transparency_data,
    )


def _is_lossless_webp(image: Image.Image) -> bool:
    if not isinstance(image, WebPImageFile) or image.fp is None:
        return False
    image.fp.seek(0)
    return LOSSLESS_WEBP in image.fp.read(WEBP_HEAD)


def _orientation(image: Image.Image) -> int:
    """What is said so far: PNG may say it after its pixels."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else Image.Exif()
    if isinstance(tags, Image.Exif):
        tags.load(image.info.get("exif", b""))
    stated = tags.get(ORIENTATION, 1)
    return stated if stated in range(1, 9) else 1


@contextmanager
def _refusing() -> Iterator[None]:
    """Decoders raise errors of any type for damaged files."""
    try:
        yield
    except (ArgosyError, MemoryError):
        raise
    except Exception as error:
        raise UnreadableDocument from error


@contextmanager
def _reading_what_there_is() -> Iterator[None]:
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _upright(image: Image.Image, stored: Stored) -> Image.Image:
    turn = (
        None if stored.format == "TIFF" else TURNS.get(stored.orientation)
    )  # Pillow turns TIFF when it is decoded
    return image if turn is None else image.transpose(turn)


def _with_a_white_end(image: Image.Image) -> Image.Image:
    """Paint over the rows that the file does not have. Raises UnreadableDocument if they are too many."""
    shades = image.convert("L")
    last = shades.crop((0, image.height - 1, image.width, image.height))
    if not any(last.histogram()[:PAPER]):  # no row is missing: the picture is only coarser, or ends in paper
        return plain(image)
    ending = last.resize(image.size, Image.Resampling.NEAREST)
    rest = ImageChops.difference(shades, ending).getbbox()
    rows = rest[3] if rest else 0
    if rows < ROWS_AT_LEAST * image.height:
        raise UnreadableDocument
    whole = plain(image)
    whole.paste(Image.new(whole.mode, (image.width, image.height - rows), "white"), (0, rows))
    return whole


def _fit(size: tuple[int, int], pixels_at_most: int) -> tuple[int, int]:
    width, height = size
    scale = min(1.0, sqrt(pixels_at_most / (width * height)), LONGEST_EDGE / max(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Return the stated resolutions across and down if they are plausible."""
    with suppress(TypeError, ValueError, IndexError, ZeroDivisionError):
        across, down = (float(stated) for stated in image.info.get("dpi", (0, 0)))
        if 70 <= across <= 2400:
            return across, down if 70 <= down <= 2400 else across
    return None
