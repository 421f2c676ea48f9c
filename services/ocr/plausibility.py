"""Tells whether words are hardly of any language: a text layer that a program got wrong, or a font that lies.

It only raises a doubt, and the page is then read to see. So it may be wrong about lists of part numbers.
"""

import re
import unicodedata
from collections.abc import Sequence

ENOUGH_CHARACTERS, ENOUGH_WORDS, ENOUGH_LETTERS = 20, 8, 80
"""Less is not judged."""
LETTERS_SHARE = 0.5
"""Share of letters and digits among the characters. Less is a layer of specks read as punctuation."""
ODD_SHARE = 0.3
"""Share of words that are odd."""
COMMON, COMMON_SHARE = frozenset("eainrsto"), 0.45
"""Letters that are common in all languages with Latin letters, and their share: 0.5 to 0.68 in languages, mostly
0.2 to 0.4 if letters stand for others."""
LAST_LATIN = "\u024f"
VOWELS = frozenset("aeiouyæøœ")
_ODD = re.compile(
    r"[^aeiouyæøœ\W\d]{6}"  # consonants in a row
    r"|[A-Z][a-z][A-Z]|[a-z][A-Z]+$|[a-z][A-Z]{2,}[a-z]"  # capitals where none belong
    r"|[a-z]\d[a-z]|^\d[a-z]{3}|[a-z]{2}\d$"  # figures for letters
    r"|\w[^\w\-'’./@&:,]\w"  # signs for letters
)


def is_implausible(words: Sequence[str]) -> bool:
    """Whether the words of a page are hardly of any language. Only Latin letters are judged."""
    text = re.sub(r"(\W)\1+", r"\1", "".join(words))  # leaders of dots, and lines of hyphens
    if len(text) < ENOUGH_CHARACTERS:
        return False
    if sum(map(str.isalnum, text)) < LETTERS_SHARE * len(text):
        return True
    found = [word for word in map(_plain, words) if len(word) > 2 and re.search("[^\\W\\d]{2}", word)]
    found = [word for word in found if word <= LAST_LATIN and not (word.isupper() or "_" in word)]  # and no codes
    if len(found) < ENOUGH_WORDS:
        return False
    letters = [letter for letter in "".join(found).lower() if letter.isalpha()]
    common = sum(letter in COMMON for letter in letters)
    if len(letters) >= ENOUGH_LETTERS and common < COMMON_SHARE * len(letters):
        return True
    return sum(map(_is_odd, found)) > ODD_SHARE * len(found)


def _plain(word: str) -> str:
    """The word without accents and punctuation at its ends."""
    base = "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))
    return re.sub(r"^\W+|\W+$", "", base)


def _is_odd(word: str) -> bool:
    return not VOWELS.intersection(word.lower()) or _ODD.search(word) is not None
