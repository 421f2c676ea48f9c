"""Text without HTML and control characters."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync.reading.texts import TooDeep, clean, cut, line_of, lines_of


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("<b>Water</b> &amp; <i>Light</i>", "Water & Light"),
        ("a\n\n b\tc", "a b c"),
        ("1 < 2 and 3 > 2, List<String>", "1 < 2 and 3 > 2, List<String>"),
        ("<script>alert(1)</script>Title<style>b{}", "Title"),
        ("Title<!-- never", "Title"),
        ("a\x00b\x1b[31mc\ud800", "ab[31mc?"),
        ("\u202eevil", "evil"),
        ("&lt;b&gt;", "<b>"),
        ("&#0;&#xd800;&bogus;", "\ufffd\ufffd&bogus;"),
        ("<p>", ""),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert line_of(text.replace("\ud800", "?")) == line


def test_paragraphs_stay() -> None:
    assert (
        lines_of("<p>One\r\n  two</p><p>Three<br>four</p><ul><li>a<li>b</ul>") == "One\ntwo\n\nThree\nfour\n\na\nb"
    )
    assert lines_of("a\n\n\n\nb  c\r\rd") == "a\n\nb c\n\nd"


def test_what_is_cut_says_so() -> None:
    assert (cut("abc", 3), cut("abcd", 3)) == ("abc", "ab…")


@pytest.mark.parametrize("part", ["<script", "<!--", "<p", "<", "&", "<a href='", "<script></script", "\n \n"])
def test_hostile_text_takes_no_time(part: str) -> None:
    """It would take minutes if the time were the square of the length."""
    began = time.process_time()
    lines_of(part * 100_000)
    assert time.process_time() - began < 20


@given(st.text())
def test_all_text_can_be_stored(text: str) -> None:
    for made in (line_of(text), lines_of(text)):
        assert "\x00" not in made
        made.encode()
    assert "\n" not in line_of(text)


def test_values_of_json_are_cleaned() -> None:
    assert clean({"a\x00": ["\ud800", float("inf"), 2**70, 1, True, None]}) == {
        "a": ["?", None, str(2**70), 1, True, None]
    }


def test_values_that_are_too_deep() -> None:
    value: list[Any] = []
    for _ in range(200):
        value = [value]
    with pytest.raises(TooDeep):
        clean(value)
