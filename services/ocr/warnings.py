"""What a job's result says of a document that was read, but not in every respect.

A page's warnings are codes in its summary. A document's are those of its pages and its own, with their messages.
"""

from collections.abc import Iterable, Mapping
from typing import Any

MESSAGES = {
    "text_layer_replaced": "The text in the file was wrong. The page was read from its picture instead.",
    "text_layer_doubtful": "The text in the file is hardly of any language, but the picture could not be read.",
    "signature_lost": "The document was signed. The signature holds for the original, not for document.pdf.",
    "pdfa_claim_removed": "The document was PDF/A. document.pdf no longer says so, because it was changed.",
    "picture_damaged": "The file ends too early or is damaged. It was read as far as it goes; the rest is white.",
    "looks_different": "document.pdf may show the page otherwise than the file does.",
}
"""The codes and what they mean."""
UNKNOWN = "A newer worker has read the page, and warns of this."
"""Of another code: while a release lasts, pages may be read by newer workers than the one that assembles them."""


def listed(of_pages: Mapping[int, Iterable[str]], of_document: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return the warnings for a result, each code once. `of_pages`: codes by page number."""
    pages: dict[str, list[int]] = {code: [] for code in of_document}
    for number, codes in sorted(of_pages.items()):
        for code in codes:
            pages.setdefault(code, []).append(number)
    return [
        {"code": code, "message": MESSAGES.get(code, UNKNOWN), "pages": numbers} for code, numbers in pages.items()
    ]
