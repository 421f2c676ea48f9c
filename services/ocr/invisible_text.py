"""Removes invisible text from a PDF page: the layer of an earlier recognition, where a new one takes its place."""

from dataclasses import dataclass

import pikepdf
from pikepdf import ContentStreamInlineImage, ContentStreamInstruction, Dictionary, Name, Object, Operator

INVISIBLE = 3
"""The text rendering mode (ISO 32000-1, 9.3.6)."""
SHOW = ("Tj", "TJ", "'", '"')
"""The operators that show text. The last two begin a new line first."""
PLACE = ("Td", "TD", "Tm", "T*", "'", '"', "BT", "ET")
"""The operators after which text does not begin where the last one ended."""
DEEPEST = 10
"""Forms in forms that are followed."""


def remove_invisible_text(document: pikepdf.Pdf, page: pikepdf.Page) -> None:
    """Remove invisible text from the page and the forms that it draws. A page without such text stays as it is."""
    changed = _Remover(document).without_text(page.obj, page.get("/Resources"), 0, 0)
    if changed is None:
        return
    content, resources = changed
    page.obj.Contents = document.make_stream(content)
    page.obj.Resources = resources


@dataclass(frozen=True, slots=True)
class _Remover:
    document: pikepdf.Pdf

    def without_text(
        self, holder: Object, resources: Object | None, mode: int, depth: int
    ) -> tuple[bytes, Object] | None:
        """Return content and resources of a page or form without its invisible text; None if it has none.

        `mode`: the text rendering mode in force where it begins.
        """
        instructions = pikepdf.parse_content_stream(pikepdf.Page(holder) if depth == 0 else holder)
        forms = dict((resources or Dictionary()).get("/XObject", Dictionary()).items())
        replaced: dict[str, Object] = {}
        gone: set[int] = set()
        line: list[int] = []  # what is invisible since the text was placed: what follows begins where it ends
        modes: list[int] = []
        for number, instruction in enumerate(instructions):
            operator, operands = str(instruction.operator), instruction.operands
            if operator == "q":
                modes.append(mode)
            elif operator == "Q" and modes:
                mode = modes.pop()
            elif operator == "Tr" and operands:
                mode = int(operands[0])
            elif operator == "Do" and depth < DEEPEST:
                changed = self._form(forms.get(str(operands[0])), resources, mode, depth)
                if changed is not None:
                    replaced[str(operands[0])] = changed
            if operator in PLACE:
                gone.update(line)
                line = []
            if operator in SHOW:
                line = [*line, number] if mode == INVISIBLE else []
        gone.update(line)
        if not gone and not replaced:
            return None
        kept = [
            one
            for number, instruction in enumerate(instructions)
            for one in (_new_line(instruction) if number in gone else [instruction])
        ]
        return pikepdf.unparse_content_stream(kept), _with_forms(resources, replaced)

    def _form(self, form: Object | None, resources: Object | None, mode: int, depth: int) -> Object | None:
        """Return a copy of the form without its invisible text, or None if it has none."""
        if form is None or form.get("/Subtype") != Name.Form:
            return None
        own = form.get("/Resources", resources)
        changed = self.without_text(form, own, mode, depth + 1)
        if changed is None:
            return None
        content, own = changed
        copy = self.document.make_stream(content)
        for key, value in form.items():
            if key not in ("/Length", "/Filter", "/DecodeParms", "/Resources"):
                copy[key] = value
        copy.Resources = own
        return copy


def _new_line(instruction: ContentStreamInstruction | ContentStreamInlineImage) -> list[ContentStreamInstruction]:
    """What an operator that shows text does beside it."""
    operator, operands = str(instruction.operator), instruction.operands
    spacing = []
    if operator == '"':
        spacing = [ContentStreamInstruction([operands[0]], Operator("Tw")),
                   ContentStreamInstruction([operands[1]], Operator("Tc"))]  # fmt: skip
    return [*spacing, ContentStreamInstruction([], Operator("T*"))] if operator in ("'", '"') else []


def _with_forms(resources: Object | None, replaced: dict[str, Object]) -> Object:
    if not replaced or resources is None:
        return resources if resources is not None else Dictionary()
    forms = Dictionary(dict(resources.XObject.items()) | replaced)
    return Dictionary(dict(resources.items()) | {"/XObject": forms})
