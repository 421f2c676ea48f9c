"""Opens an encrypted PDF with qpdf, in whichever spelling of its password fits. Runs in the sandbox.

A password is typed as text and kept as bytes. Writers disagree about which: UTF-8, as since PDF 2.0, or one of the
encodings of their time; composed letters or not. qpdf takes bytes, and PDFium tries UTF-8 and Latin-1 only.
"""

import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pikepdf  # also makes the codec pdfdoc known

ENCODINGS = ("utf-8", "pdfdoc", "cp1252", "mac-roman")
"""ISO 32000-2, 7.6.4; before that PDFDocEncoding, and what systems had."""
FORMS: tuple[Literal["NFC", "NFKC", "NFD"], ...] = ("NFC", "NFKC", "NFD")
"""What was typed is in one of these (SASLprep, RFC 4013, wants NFKC)."""


def unlocked(source: Path | BytesIO, password: str | None, **options: Any) -> pikepdf.Pdf:
    """Open a PDF. `options`: those of pikepdf.open. Raises pikepdf.PasswordError, and what it raises."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A password was provided, but no password was needed")
        *others, last = _spellings(password)
        for spelled in others:
            with suppress(pikepdf.PasswordError):
                return pikepdf.open(source, password=spelled, **options)
        return pikepdf.open(source, password=last, **options)


def _spellings(password: str | None) -> Iterator[bytes]:
    """Yield the bytes that the password may stand for, the likeliest first; then none, if a PDF needs none."""
    found = dict[bytes, None]()
    for encoding in ENCODINGS:
        for form in (None, *FORMS):
            text = password or ""
            with suppress(UnicodeEncodeError):
                found[(unicodedata.normalize(form, text) if form else text).encode(encoding)] = None
    yield from found | {b"": None}
