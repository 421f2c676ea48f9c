"""What was turned finds its way back, and skew is seen where there is some."""

import io
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.ocr.rotation import MAX_SKEW, Rotation, skew_of
from tests import pictures

QUARTERS = [0, 90, 180, 270]


def spot(image: Image.Image) -> tuple[float, float]:
    """The middle of what is black."""
    box = image.point(lambda value: 255 * (value < 128)).getbbox()
    assert box is not None
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


@pytest.mark.parametrize("quarters", QUARTERS)
@pytest.mark.parametrize("skew", [0.0, 5.0, -3.4])
def test_a_point_of_the_turned_picture_goes_back_to_where_it_was(quarters: int, skew: float) -> None:
    image = Image.new("L", (300, 200), 255)
    image.paste(0, (220, 60, 232, 72))
    turn = Rotation(300, 200, quarters, skew)
    turned = turn.apply(image)
    assert turned.size == turn.upright
    assert turn.to_page(*spot(turned)) == pytest.approx(spot(image), abs=1.5)


@given(
    quarters=st.sampled_from(QUARTERS),
    skew=st.floats(-8, 8),
    edges=st.tuples(*[st.integers(-50, 400)] * 4),
)
def test_no_box_leaves_the_page(quarters: int, skew: float, edges: tuple[int, int, int, int]) -> None:
    left, right = sorted(edges[::2])
    top, bottom = sorted(edges[1::2])
    box = Rotation(300, 200, quarters, skew).box_to_page((left, top, right, bottom))
    assert box[0] >= 0
    assert box[1] >= 0
    assert box[2] <= 300
    assert box[3] <= 200


@pytest.mark.parametrize("quarters", QUARTERS)
def test_the_whole_picture_is_the_whole_page(quarters: int) -> None:
    turn = Rotation(300, 200, quarters)
    assert turn.box_to_page((0, 0, *turn.upright)) == (0, 0, 300, 200)
    assert turn.is_identity is (quarters == 0)


@pytest.mark.parametrize("skew", [0.0, 0.2, 1.0, 3.6, -5.0, -MAX_SKEW])
def test_skew_is_found(skew: float) -> None:
    """By how much the picture must be turned back; what Tesseract copes with is left to it."""
    image = pictures.page(pictures.LINES * 4, dpi=75).rotate(-skew, Image.Resampling.BICUBIC, fillcolor=255)
    assert skew_of(image) == pytest.approx(skew if abs(skew) >= 0.5 else 0.0, abs=0.4)


def test_where_there_are_no_lines_nothing_is_turned() -> None:
    assert skew_of(Image.new("L", (600, 800), 255)) == 0.0
    assert skew_of(Image.new("L", (3, 5), 0)) == 0.0


@pytest.mark.parametrize("quarters", QUARTERS)
def test_the_layer_of_text_lies_where_the_page_does(quarters: int, tmp_path: Path) -> None:
    layer = pictures.write(tmp_path, "layer.pdf", pictures.text_pdf("machine"))
    turn = Rotation(*((792, 612) if quarters in (90, 270) else (612, 792)), quarters)
    textpage = pypdfium2.PdfDocument(layer.read_bytes())[0].get_textpage()
    left, bottom, right, top = textpage.get_charbox(0)
    wanted = turn.to_page((left + right) / 2, 792 - (bottom + top) / 2)
    turn.rotate_text_layer(layer, dpi=72)
    with pikepdf.open(io.BytesIO(layer.read_bytes())) as document:
        assert len(document.pages) == 1
        assert [float(edge) for edge in document.pages[0].mediabox] == [0, 0, turn.width, turn.height]
    textpage = pypdfium2.PdfDocument(layer.read_bytes())[0].get_textpage()
    assert textpage.get_text_range().strip() == "machine"
    left, bottom, right, top = textpage.get_charbox(0)
    assert ((left + right) / 2, turn.height - (bottom + top) / 2) == pytest.approx(wanted, abs=1.0)
