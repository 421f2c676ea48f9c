"""Rows of a spreadsheet as XML, written by PostgreSQL.

A row is one line, so lines can be counted. Text is always an inline string: it is never a formula, and `007` and
`TRUE` stay what they are. A spreadsheet has numbers of 15 digits and days from 1900: what does not fit is text.
"""

from libs.common.contracts.datasets import Column, Kind
from services.exporter.values import quoted

CUT = b'<c s="3" '
"""How a cell begins whose text was too long for a spreadsheet."""
STRIPPED = b'<c s="4" '
"""How a cell begins whose text had characters that XML cannot have."""
TEXT_AT_MOST = 32_767
"""UTF-16 units in one cell."""
_DAYS_TO_1970 = 25_569
_TEXT = '<is><t xml:space="preserve">'
# What must be written otherwise, or not at all: & < > _xABCD_ line breaks, and what XML cannot have.
_PLAIN = r"{0} !~ '[\x01-\x1f&<>\uFFFE\uFFFF]|_x' AND octet_length({0}) <= 32767"
_ILLEGAL = r"[\x01-\x08\x0b\x0c\x0e-\x1f\uFFFE\uFFFF]"
_TOO_LONG = r"char_length({0}) > CASE WHEN {0} ~ '[\U00010000-\U0010FFFF]' THEN 16383 ELSE 32767 END"
_CUT = r"left({0}, CASE WHEN {0} ~ '[\U00010000-\U0010FFFF]' THEN 16383 ELSE 32767 END)"
_REPLACED = (
    ("&", "&amp;"),
    ("<", "&lt;"),
    (">", "&gt;"),
    ("\t", "&#9;"),
    ("\n", "&#10;"),
    ("\r", "&#13;"),
)


def sheet_query(selected: str, columns: tuple[Column, ...]) -> str:
    """The query for COPY as lines, each a `<row>`."""
    cells = " || ".join(_cell(column) for column in columns)
    return f"SELECT '<row>' || {cells} || '</row>' FROM ({selected}) r"  # noqa: S608


def _cell(column: Column) -> str:
    name = quoted(column)
    match column.kind:
        case Kind.INTEGER:
            fits = f"{name} BETWEEN -9007199254740992 AND 9007199254740992"
            return _number_or_text(name, fits, f"{name}::text")
        case Kind.NUMBER:
            digits = f"length(trim('0' FROM translate(abs({name}::numeric)::text, '.', '')))"
            fits = f"{digits} <= 15 AND ({name} = 0 OR abs({name}::numeric) BETWEEN 1e-300 AND 1e300)"
            return _number_or_text(name, fits, f"{name}::text")
        case Kind.TIME:
            days = f"(extract(epoch FROM {name})::float8 / 86400 + {_DAYS_TO_1970})::text"
            fits = f"{name} >= '1900-03-01Z' AND {name} < '10000-01-01Z'"
            return _number_or_text(name, fits, days, style=1)
        case Kind.DATE:
            fits = f"{name} >= '1900-03-01' AND {name} < '10000-01-01'"
            return _number_or_text(name, fits, f"({name} - date '1899-12-30')::text", style=2)
    return _text(f"{name}::text")


def _number_or_text(name: str, fits: str, value: str, style: int = 0) -> str:
    begin = "<c><v>" if not style else f'<c s="{style}"><v>'
    return (
        f"CASE WHEN {name} IS NULL THEN '<c/>' WHEN {fits} THEN '{begin}' || {value} || '</v></c>'"
        f" ELSE '<c t=\"inlineStr\">{_TEXT}' || {name}::text || '</t></is></c>' END"
    )


def _text(value: str) -> str:
    """The cell of a text: the first branch is that of almost every one, and the cheapest."""
    legal = f"regexp_replace({value}, '{_ILLEGAL}', '', 'g')"
    style = (
        f"CASE WHEN {_TOO_LONG.format(value)} THEN 's=\"3\" '"
        f" WHEN {value} ~ '{_ILLEGAL}' THEN 's=\"4\" ' ELSE '' END"
    )
    written = rf"regexp_replace({_CUT.format(legal)}, '_(x[0-9A-Fa-f]{{4}}_)', '_x005F_\1', 'g')"
    for character, escaped in _REPLACED:
        written = f"replace({written}, {_literal(character)}, '{escaped}')"
    return (
        f"CASE WHEN {value} IS NULL THEN '<c/>'"
        f" WHEN {_PLAIN.format(value)} THEN '<c t=\"inlineStr\">{_TEXT}' || {value} || '</t></is></c>'"
        f" ELSE '<c ' || {style} || 't=\"inlineStr\">{_TEXT}' || {written} || '</t></is></c>' END"
    )


def _literal(character: str) -> str:
    return {"\t": "E'\\t'", "\n": "E'\\n'", "\r": "E'\\r'"}.get(character, f"'{character}'")
