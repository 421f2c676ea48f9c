"""Trees of pages that go round in circles still have their pages."""

import io
from collections.abc import Callable
from pathlib import Path

import pikepdf
import pytest

from services.ocr.page_tree import without_loops
from tests import pictures


def changed(folder: Path, change: Callable[[pikepdf.Pdf], None]) -> Path:
    buffer = io.BytesIO()
    with pikepdf.open(io.BytesIO(pictures.scanned_pdf([pictures.page(dpi=20)] * 2))) as document:
        change(document)
        document.save(buffer)
    return pictures.write(folder, "source.pdf", buffer.getvalue())


def itself(document: pikepdf.Pdf) -> None:
    document.Root.Pages.Kids.append(document.Root.Pages)


def empty_node_twice(document: pikepdf.Pdf) -> None:
    empty = document.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.Pages, Kids=[], Count=0))
    document.Root.Pages.Kids.append(empty)
    document.Root.Pages.Kids.append(empty)


def loop_below(document: pikepdf.Pdf) -> None:
    node = document.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.Pages, Kids=[], Count=0))
    node.Kids.append(node)
    document.Root.Pages.Kids.append(node)


@pytest.mark.parametrize("change", [itself, empty_node_twice, loop_below, lambda _document: None])
def test_pages_are_counted_all_the_same(tmp_path: Path, change: Callable[[pikepdf.Pdf], None]) -> None:
    with without_loops(changed(tmp_path, change)) as document:
        assert len(document.pages) == 2


def test_a_tree_that_is_deeper_than_any_ends(tmp_path: Path) -> None:
    def deep(document: pikepdf.Pdf) -> None:
        itself(document)
        node = document.Root.Pages
        for _ in range(300):
            below = document.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.Pages, Kids=[], Count=0))
            node.Kids.append(below)
            node = below

    with without_loops(changed(tmp_path, deep)) as document:
        assert len(document.pages) == 2
