"""What is wrong with a source's description, by the field, as far as its types do not say it."""

from collections.abc import Iterator
from typing import TypedDict

from libs.common.contracts.sync import CursorPaging, Format, JsonLinkPaging, SourceSpec
from services.sync.addresses import check_url
from services.sync.reading.expressions import ExpressionFailed, find
from services.sync.refusals import AddressRefused

_NEEDED = ("key", "title")


class Mistake(TypedDict):
    """A field of the caller's body, and what is wrong with it."""

    field: str
    message: str


def mistakes(spec: SourceSpec, languages: frozenset[str]) -> list[Mistake]:
    """All mistakes. `languages`: the text search configurations of the database."""
    return [{"field": f"body.{field}", "message": message} for field, message in _found(spec, languages)]


def _found(spec: SourceSpec, languages: frozenset[str]) -> Iterator[tuple[str, str]]:
    try:
        check_url(spec.url)
    except AddressRefused as error:
        yield "url", str(error)
    if spec.language not in languages:
        yield "language", f"Must be one of: {', '.join(sorted(languages))}."
    if spec.body is not None and spec.method != "POST":
        yield "body", "A body is sent with POST only."
    if spec.format in (Format.JSON, Format.CSV):
        for name in _NEEDED:
            if getattr(spec.mapping, name) is None:
                yield f"mapping.{name}", f"The format {spec.format} needs it."
    for field, expression in _expressions(spec):
        if (mistake := _syntax(expression)) is not None:
            yield field, mistake


def _expressions(spec: SourceSpec) -> Iterator[tuple[str, str]]:
    mapping = spec.mapping.model_dump(exclude_none=True, exclude={"extra"})
    yield from ((f"mapping.{name}", expression) for name, expression in mapping.items())
    yield from ((f"mapping.extra.{name}", expression) for name, expression in spec.mapping.extra.items())
    if spec.incremental is not None:
        yield "incremental.field", spec.incremental.field
    if isinstance(spec.paging, CursorPaging):
        yield "paging.cursor", spec.paging.cursor
    if isinstance(spec.paging, JsonLinkPaging):
        yield "paging.link", spec.paging.link


def _syntax(expression: str) -> str | None:
    try:
        find(expression)
    except ExpressionFailed as error:
        return f"This is not JMESPath. {error}"
    return None
