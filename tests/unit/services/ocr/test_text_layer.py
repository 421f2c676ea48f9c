"""The text that a page has: words by the gaps between letters, each in its place."""

import itertools

import pikepdf
import pypdfium2
import pytest
from pikepdf import Array, Dictionary, Name

from services.ocr.text_layer import OwnWord, own_blocks, to_blocks
from tests import pictures
from tests.drawn_pdf import HEIGHT, WIDTH, drawn_pdf, text

BYTES = b"begincmap 1 begincodespacerange <00> <ff> endcodespacerange "


def lines_of(content: bytes) -> list[list[OwnWord]]:
    page = pypdfium2.PdfDocument(content)[0]
    return [line for block in own_blocks(page) for line in block]


def texts_of(content: bytes) -> list[list[str]]:
    return [[word.text for word in line] for line in lines_of(content)]


def spaced(words: str, gap: float, size: float = 24) -> str:
    """Words without space characters, that far apart (in shares of the size), by TJ."""
    shown = f" {-1000 * gap} ".join(f"({word})" for word in words.split())
    return f"BT /F1 {size} Tf 72 700 Td [{shown}] TJ ET\n"


@pytest.mark.parametrize("gap", [0.13, 0.16, 0.2, 0.28, 0.6])
def test_words_without_spaces_are_told_apart_by_their_gaps(gap: float) -> None:
    assert texts_of(drawn_pdf(spaced("The lighthouse keeper wrote twelve letters", gap))) == [
        ["The", "lighthouse", "keeper", "wrote", "twelve", "letters"]
    ]


@pytest.mark.parametrize("turned", ["0 1 -1 0 300 100", "0 -1 1 0 300 700", "-1 0 0 -1 500 300"])
def test_words_of_turned_lines_are_told_apart_too(turned: str) -> None:
    upright = text("A page has a note in its margin", 72, 720)
    content = upright + spaced("The lighthouse keeper wrote", 0.13, 20).replace("72 700 Td", f"{turned} Tm")
    (above, note) = lines_of(drawn_pdf(content))
    assert len(above) == 8
    assert [word.text for word in note] == ["The", "lighthouse", "keeper", "wrote"]


@pytest.mark.parametrize("kern", [-0.04, 0.02, 0.05])
def test_letters_that_are_moved_a_little_stay_together(kern: float) -> None:
    shown = f" {-1000 * kern} ".join(f"({letter})" for letter in "lighthouse")
    assert texts_of(drawn_pdf(f"BT /F1 24 Tf 72 700 Td [{shown}] TJ ET")) == [["lighthouse"]]


@pytest.mark.parametrize("tracking", [2, 4, 7, 10, 16])
def test_words_that_are_set_widely_are_not_torn(tracking: float) -> None:
    content = f"BT /F1 20 Tf {tracking} Tc 72 700 Td (HARBOUR OFFICE KIRKWALL) Tj ET"
    assert texts_of(drawn_pdf(content)) == [["HARBOUR", "OFFICE", "KIRKWALL"]]


def test_figures_of_a_table_stay_apart() -> None:
    content = "".join(text(str(column), 72 + 40 * column, 700) for column in range(9))
    assert texts_of(drawn_pdf(content)) == [[str(column) for column in range(9)]]


def test_a_word_divided_at_the_end_of_a_line_is_in_two_lines() -> None:
    content = "".join(
        text(line, 72, 700 - 14 * number)
        for number, line in enumerate(
            ("met on the third of March to con-", "sider the new regulations for dan-", "gerous goods.")
        )
    )
    lines = lines_of(drawn_pdf(content))
    assert [line[-1].text for line in lines] == ["con-", "dan-", "goods."]
    assert [line[0].text for line in lines] == ["met", "sider", "gerous"]
    for line, below in itertools.pairwise(lines):
        assert line[-1].box[3] < below[0].box[3]
        assert line[-1].box[0] > 0.3 > below[0].box[2]


def test_letters_beyond_16_bits_do_not_move_the_words_after_them() -> None:
    def with_map(document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
        sheet.Resources.Font.F1.ToUnicode = document.make_stream(
            BYTES + b"2 beginbfrange <20> <70> <0020> <72> <7e> <0072> endbfrange"
            b" 1 beginbfchar <71> <D835DC5E> endbfchar endcmap"
        )

    (line,) = lines_of(drawn_pdf(text("f(q) grows with q and q is near", 72, 700), change=with_map))
    assert [word.text for word in line] == [
        "f(\U0001d45e)",
        "grows",
        "with",
        "\U0001d45e",
        "and",
        "\U0001d45e",
        "is",
        "near",
    ]
    assert all(before.box[2] < after.box[0] for before, after in itertools.pairwise(line))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_places_are_those_of_the_page_as_it_is_shown(rotation: int) -> None:
    def turned(_document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
        sheet.Rotate = rotation
        sheet.CropBox = Array([-100, 92, WIDTH + 100, HEIGHT])

    ((word,),) = lines_of(drawn_pdf(text("Harbour", 72, 692, 20), change=turned))
    left, top = 72 / WIDTH, (HEIGHT - 692 - 14.5) / (HEIGHT - 92)
    expected = {0: (left, top), 90: (1 - top, left), 180: (1 - left, 1 - top), 270: (top, 1 - left)}[rotation]
    corner = {0: (0, 1), 90: (2, 1), 180: (2, 3), 270: (0, 3)}[rotation]
    assert [word.box[side] for side in corner] == pytest.approx(expected, abs=0.01)


def test_what_is_invisible_is_known() -> None:
    (line, hidden) = lines_of(drawn_pdf(text("Seen", 72, 700) + text("Hidden", 72, 600, mode=3)))
    assert (line[0].drawn, hidden[0].drawn) == (True, False)


def test_words_lie_where_they_are_seen() -> None:
    page = pypdfium2.PdfDocument(drawn_pdf(text("High water", 72, 700) + text("at six", 72, 685)))[0]
    (block,) = to_blocks(own_blocks(page), 2 * WIDTH, 2 * HEIGHT)
    assert [[word.text for word in line.words] for line in block.lines] == [["High", "water"], ["at", "six"]]
    high, water = block.lines[0].words
    assert high.box[0] == pytest.approx(144, abs=4)
    assert 2 * (HEIGHT - 712) < high.box[1] < high.box[3] <= 2 * (HEIGHT - 697)
    assert high.box[2] < water.box[0]
    assert block.lines[0].box == (high.box[0], min(high.box[1], water.box[1]), water.box[2], max(
        high.box[3], water.box[3]))  # fmt: skip
    assert {word.confidence for line in block.lines for word in line.words} == {100.0}


def test_a_page_without_words_has_no_blocks() -> None:
    assert own_blocks(pypdfium2.PdfDocument(pictures.scanned_pdf([pictures.page(dpi=20)]))[0]) == []
    assert own_blocks(pypdfium2.PdfDocument(drawn_pdf(text("   ", 72, 700)))[0]) == []


def test_a_font_of_symbols_keeps_its_signs() -> None:
    def with_map(document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
        sheet.Resources.Font.S = Dictionary(
            Type=Name.Font,
            Subtype=Name.Type1,
            BaseFont=Name.Helvetica,
            ToUnicode=document.make_stream(BYTES + b"1 beginbfchar <6c> <F0B7> endbfchar endcmap"),
        )

    content = "BT /S 12 Tf 72 700 Td (l) Tj /F1 12 Tf 20 0 Td (First point) Tj ET"
    (line,) = lines_of(drawn_pdf(content, change=with_map))
    assert [(word.text, word.unreadable) for word in line] == [("\uf0b7", 1), ("First", 0), ("point", 0)]
