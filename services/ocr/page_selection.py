"""Takes pages out of a PDF with all that belongs to them, so that nothing leads to pages that are not there."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pikepdf
from pikepdf import Array, Dictionary, Name, Object, OutlineItem

_Id = tuple[int, int]
DEEPEST = 50
"""Levels of a tree that are followed; files made to do harm have trees in themselves."""


def keep_pages(document: pikepdf.Pdf, wanted: Collection[int]) -> None:
    """Keep only the `wanted` pages, counted from 1, and what belongs to them of outline, links, form and tags."""
    pages = [page.obj for page in document.pages]
    kept = [page for number, page in enumerate(pages, 1) if number in wanted]
    kept_ids = {page.objgen for page in kept}
    gone = [page for page in pages if page.objgen not in kept_ids]
    _renumber_labels(document, sorted(number - 1 for number in wanted))
    selection = _Selection({page.objgen for page in gone}, _annotations(gone))
    selection.find_gone_names(document)
    _prune_outline(document, selection)
    for page in kept:
        _prune_links(page, selection)
    _prune_root(document, selection)
    for number in range(len(pages), 0, -1):
        if number not in wanted:
            del document.pages[number - 1]
    for page in gone:  # something that is not known here may still refer to them
        for key in set(page.keys()) - {"/Type"}:
            del page[key]


@dataclass(slots=True)
class _Selection:
    """What is not to be there any more, by object number, and names of destinations on such pages."""

    pages: set[_Id]
    annotations: set[_Id]
    names: set[str] = field(default_factory=set)

    def find_gone_names(self, document: pikepdf.Pdf) -> None:
        """Take the names of gone destinations out of the document."""
        old = document.Root.get("/Dests")
        names_of_all = document.Root.get("/Names")
        tree = names_of_all.get("/Dests") if isinstance(names_of_all, Dictionary) else None
        for names in (old, pikepdf.NameTree(tree) if isinstance(tree, Dictionary) else None):
            if names is None:
                continue
            gone = [name for name, target in names.items() if self.leads_away(target)]
            for name in gone:
                del names[name]
            self.names |= {name.removeprefix("/") for name in gone}

    def leads_away(self, target: Object | None) -> bool:
        """Whether a destination, or an action to go to one, is on a gone page."""
        if isinstance(target, Dictionary):
            return target.get("/S", Name.GoTo) == Name.GoTo and self.leads_away(target.get("/D"))
        if isinstance(target, Array):
            return len(target) > 0 and isinstance(target[0], Object) and target[0].objgen in self.pages
        return target is not None and str(target).removeprefix("/") in self.names

    def is_gone_entry(self, entry: Object) -> bool:
        """Whether an entry of the outline, or a link, leads to a gone page."""
        return self.leads_away(entry.get("/Dest")) or self.leads_away(entry.get("/A"))


def _annotations(pages: Sequence[Object]) -> set[_Id]:
    return {one.objgen for page in pages for one in _dictionaries(page.get("/Annots"))} - {(0, 0)}


def _dictionaries(array: Object | None) -> list[Object]:
    """The dictionaries in an array. Files may have anything in its place."""
    return [one for one in array if isinstance(one, Dictionary)] if isinstance(array, Array) else []


def _prune_outline(document: pikepdf.Pdf, selection: _Selection) -> None:
    if "/Outlines" not in document.Root:
        return
    with document.open_outline(max_depth=DEEPEST) as outline:
        outline.root[:] = _pruned(outline.root, selection)
        is_empty = not outline.root
    if is_empty:
        del document.Root.Outlines


def _pruned(items: Sequence[OutlineItem], selection: _Selection) -> Iterator[OutlineItem]:
    """Yield the entries that lead somewhere, or have such entries below them."""
    for item in items:
        item.children[:] = _pruned(item.children, selection)
        if item.obj is None or not selection.is_gone_entry(item.obj):
            yield item
        elif item.children:
            item.destination = item.action = None
            for key in ("/Dest", "/A"):
                if key in item.obj:
                    del item.obj[key]
            yield item


def _prune_links(page: Object, selection: _Selection) -> None:
    annotations = _dictionaries(page.get("/Annots"))
    kept = [one for one in annotations if not selection.is_gone_entry(one)]
    if len(kept) < len(annotations):
        page.Annots = Array(kept)


def _prune_root(document: pikepdf.Pdf, selection: _Selection) -> None:
    """Remove what the document as a whole has of the gone pages."""
    root = document.Root
    if selection.leads_away(root.get("/OpenAction")):
        del root.OpenAction
    if "/Threads" in root:
        del root.Threads  # articles go from page to page
    form, tags = root.get("/AcroForm"), root.get("/StructTreeRoot")
    if isinstance(form, Dictionary):
        form.Fields = Array(one for one in _dictionaries(form.get("/Fields")) if _is_kept_field(one, selection))
    if isinstance(tags, Dictionary):
        _prune_tags(tags, selection)


def _is_kept_field(field_: Object, selection: _Selection, depth: int = 0) -> bool:
    """Whether a field of the form is on a kept page. Removes its parts on gone ones."""
    if field_.objgen in selection.annotations or depth > DEEPEST:
        return False
    if "/Kids" not in field_:
        return True
    kids = _dictionaries(field_.Kids)
    kept = [kid for kid in kids if _is_kept_field(kid, selection, depth + 1)]
    if len(kept) < len(kids):
        field_.Kids = Array(kept)
    return bool(kept)


def _prune_tags(tree: Object, selection: _Selection) -> None:
    """Remove the tags of gone pages from the structure tree, and from the way back to it."""
    if "/K" in tree:
        _prune_tag(tree, selection, None, 0)
    if "/ParentTree" in tree:
        parents = pikepdf.NumberTree(tree.ParentTree)
        for number, elements in list(parents.items()):
            of = elements if isinstance(elements, Array) else [elements]
            if any(_is_gone_tag(element, selection) for element in of):
                del parents[number]


def _is_gone_tag(element: Object, selection: _Selection) -> bool:
    return (
        isinstance(element, Dictionary)
        and isinstance(element.get("/Pg"), Dictionary)
        and element.Pg.objgen in selection.pages
    )


def _prune_tag(element: Object, selection: _Selection, page: _Id | None, depth: int) -> bool:
    """Whether anything of a structure element, or marked content, is on a kept page. Removes the rest of it."""
    if isinstance(element.get("/Pg"), Dictionary):
        page = element.Pg.objgen
    if "/K" not in element or depth > DEEPEST:
        return page not in selection.pages
    kids = list(element.K) if isinstance(element.K, Array) else [element.K]
    kept = [
        kid
        for kid in kids
        if (isinstance(kid, Dictionary) and _prune_tag(kid, selection, page, depth + 1))
        or (not isinstance(kid, Dictionary) and page not in selection.pages)
    ]
    if len(kept) < len(kids):
        element.K = Array(kept)
    return bool(kept)


def _renumber_labels(document: pikepdf.Pdf, kept: Sequence[int]) -> None:
    """Give the kept pages, counted from 0, the labels that they had."""
    if "/PageLabels" not in document.Root:
        return
    ranges: list[tuple[int, Object]] = []
    with suppress(pikepdf.PdfError, ValueError, RuntimeError):
        ranges = sorted(pikepdf.NumberTree(document.Root.PageLabels).items(), key=lambda entry: entry[0])
    numbers: list[Object | int] = []
    expected: tuple[_Id | int | None, int] | None = None
    for position, index in enumerate(kept):
        start, label = next(((at, one) for at, one in reversed(ranges) if at <= index), (index, Dictionary()))
        number = int(label.get("/St", 1)) + index - start
        if expected != (start, number):
            same = Dictionary({key: label[key] for key in ("/S", "/P") if key in label})
            numbers += [position, Dictionary({**dict(same.items()), "/St": number})]
        expected = (start, number + 1)
    document.Root.PageLabels = Dictionary(Nums=Array(numbers))
