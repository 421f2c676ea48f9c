"""Opens a PDF whose tree of pages qpdf refuses, with the kids taken out that are none. Runs in the sandbox.

qpdf wants each node once. Other programs leave an empty node in several places, a node among its own kids, or
something that is no page, and viewers show what there is.
"""

import io
from pathlib import Path
from typing import Any

import pikepdf

from services.ocr.passwords import unlocked

DEEPEST = 60
"""Levels of nodes. Real documents have fewer than ten."""


def without_loops(source: Path, password: str | None = None) -> pikepdf.Pdf:
    """Open a PDF and see to it that its pages can be counted. Raises pikepdf.PdfError and its subclasses."""
    try:
        return with_a_size(unlocked(source, password))
    except pikepdf.PasswordError:
        raise
    except (pikepdf.PdfError, RuntimeError, ValueError):
        pruned = io.BytesIO()
        # With inherited attributes, qpdf would go through the tree.
        with unlocked(source, password, inherit_page_attributes=False) as document:
            _prune(document.Root.Pages, set(), 0)
            with_a_size(document).save(pruned, encryption=document.is_encrypted)
        return unlocked(pruned, password)


def with_a_size(document: pikepdf.Pdf) -> pikepdf.Pdf:
    """Return the document with a number of objects in its trailer: qpdf writes the right one if there is any."""
    document.trailer.Size = len(document.objects) + 1
    return document


def _prune(node: Any, seen: set[tuple[int, int]], depth: int) -> int:
    """Keep the kids of a node that are pages or have some. Returns the number of pages."""
    kept, pages = pikepdf.Array(), 0
    seen.add(node.objgen)
    for kid in node.get("/Kids", []):
        if not isinstance(kid, pikepdf.Dictionary):
            continue
        below = 1
        if "/Kids" in kid or kid.get("/Type") == pikepdf.Name.Pages:
            again = kid.is_indirect and kid.objgen in seen
            below = 0 if again or depth >= DEEPEST else _prune(kid, seen, depth + 1)
        if below:
            kept.append(kid)
            pages += below
    node.Kids, node.Count = kept, pages
    return pages
