"""Other looks at a page that is hard to read: without shadows, colours and rules. Runs in the sandbox.

Tesseract takes one threshold for the whole page, so all that lies in a shadow or under a marker is black to it. In
the lightest of the three channels a marker or stamp is as light as paper, and black stays black.
"""

from collections.abc import Callable, Iterator

from PIL import Image, ImageChops, ImageFilter, ImageMath

from services.ocr.rules import without_rules

PAPER_BLOCK, PAPER_REACH = 8, 9
"""Edges in pixels and blocks. The lightest block within reach is paper, because there is some between lines."""
DARKEST_PAPER = 24
"""Darker ground is not lightened further: that would show its noise only."""
UNEVEN = 0.8
"""The light is uneven if the darker paper has less than this share of the light of the lighter."""
DARK_SHARE, LIGHT_SHARE = 0.05, 0.9
"""How much of the page is darker than what is compared."""
COLOURED, COLOURED_SHARE = 60, 0.003
"""Levels between the channels from which a pixel is coloured, and how much of a coloured page is so."""

STAMP = 190
"""Level of the lightest channel from which a colour is taken for paper: stamps are less bright than markers."""


def other_looks(grey: Image.Image, colours: Callable[[], Image.Image]) -> Iterator[Image.Image]:
    """Yield pictures in which more of a grey page may be readable. `colours` returns the page in RGB."""
    coloured = colours()
    if _is_coloured(coloured):
        lightest = _lightest_channel(coloured)
        paper = _paper(lightest)
        yield evened(lightest, paper) if _is_uneven(paper) else lightest
    paper = _paper(grey)
    even = evened(grey, paper) if _is_uneven(paper) else grey
    if even is not grey:
        yield even
    unruled = without_rules(even)
    if unruled is not None:
        yield unruled


def evened(grey: Image.Image, paper: Image.Image | None = None) -> Image.Image:
    """Return the page as if the light on it were even: every pixel divided by the paper around it."""
    ground = (paper or _paper(grey)).resize(grey.size, Image.Resampling.BICUBIC)
    divided = ImageMath.lambda_eval(
        lambda values: values["convert"](
            values["min"](values["grey"] * 255 / values["max"](values["ground"], DARKEST_PAPER), 255), "L"
        ),
        grey=grey,
        ground=ground,
    )
    assert isinstance(divided, Image.Image)  # noqa: S101
    return divided


def _paper(grey: Image.Image) -> Image.Image:
    """The light of the paper, in a smaller picture."""
    lightest = grey.reduce(PAPER_BLOCK).filter(ImageFilter.MaxFilter(PAPER_REACH))
    lightest = lightest.filter(ImageFilter.MinFilter(PAPER_REACH))  # so that shadows begin where they do
    return lightest.filter(ImageFilter.GaussianBlur(PAPER_REACH / 4))


def _is_uneven(paper: Image.Image) -> bool:
    return _level(paper, DARK_SHARE) < UNEVEN * _level(paper, LIGHT_SHARE)


def _level(picture: Image.Image, share: float) -> int:
    """The level of grey that this share of the pixels is darker than."""
    below, wanted = 0, share * picture.width * picture.height
    for level, count in enumerate(picture.histogram()):
        below += count
        if below > wanted:
            return level
    return 255


def _is_coloured(colours: Image.Image) -> bool:
    red, green, blue = colours.reduce(4).split()
    lightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    levels = ImageChops.subtract(lightest, darkest).histogram()
    return sum(levels[COLOURED:]) > COLOURED_SHARE * red.width * red.height


def _lightest_channel(colours: Image.Image) -> Image.Image:
    red, green, blue = colours.split()
    lightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return lightest.point([min(255, level * 255 // STAMP) for level in range(256)])
