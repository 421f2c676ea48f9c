"""What becomes of a value in CSV and JSON lines, as expressions of SQL.

PostgreSQL writes all values itself, because Python would take longer for each of them than it does for the row.
"""

from libs.common.contracts.datasets import Column, Kind

# A formula, unless the whole text is a number. 61 43 45 64 9 13 are = + - @ and the two that end a cell.
_SAFE = """
CASE WHEN ascii({0}) IN (61, 43, 45, 64, 9, 13) AND {0} !~ '^[+-]?[0-9]+([.,][0-9]+)?$'
  THEN '''' || {0} ELSE {0} END"""
_TIME = """coalesce(to_char({0}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), {0}::text)"""
"""As moments.written does. A time without end has no digits, and is a word."""
NULLED = b"\tnull"
"""What a number is in JSON that is none. Nothing else there has a tab, so these can be counted."""
_FINITE = "CASE WHEN {0} IN ('NaN', 'Infinity', '-Infinity') THEN E'\\tnull'::json ELSE to_json({0}) END"
# JSON that was stored as text may have line breaks and tabs between its values. Within them there are none.
_ONE_LINE = "translate({0}::text, E'\\n\\r\\t', '   ')::json"


def csv_query(selected: str, columns: tuple[Column, ...], *, excel_safe: bool) -> str:
    """The query for COPY as CSV. A value that is not there is empty, and empty text is `""`."""
    values = ", ".join(f'{_csv(column, excel_safe=excel_safe)} AS "{column.name}"' for column in columns)
    return f"SELECT {values} FROM ({selected}) r"  # noqa: S608


def parquet_query(selected: str, columns: tuple[Column, ...]) -> str:
    """The query for COPY as CSV, of which Parquet is made. A time without end, which that cannot say, is null."""
    values = ", ".join(
        f'CASE WHEN isfinite({quoted(column)}) THEN {_csv(column, excel_safe=False)} END AS "{column.name}"'
        if column.kind in (Kind.TIME, Kind.DATE)
        else f'{quoted(column)} AS "{column.name}"'
        for column in columns
    )
    return f"SELECT {values} FROM ({selected}) r"  # noqa: S608


def _csv(column: Column, *, excel_safe: bool) -> str:
    name = quoted(column)
    match column.kind:
        case Kind.TIME:
            return _TIME.format(name)
        case Kind.TEXT if excel_safe:
            return _SAFE.format(name)
    return name


def jsonl_query(selected: str, columns: tuple[Column, ...]) -> str:
    """The query for COPY as lines, each a JSON object. What JSON cannot say of a number is null."""
    values = ", ".join(f'{_json(column)} AS "{column.name}"' for column in columns)
    return f"SELECT to_json(whole_row) FROM (SELECT {values} FROM ({selected}) r) whole_row"  # noqa: S608


def _json(column: Column) -> str:
    name = quoted(column)
    match column.kind:
        case Kind.TIME:
            return _TIME.format(name)
        case Kind.NUMBER:
            return _FINITE.format(name)
        case Kind.JSON:
            return _ONE_LINE.format(name)
    return name


def quoted(column: Column) -> str:
    """The column's name, as in SQL."""
    return f'r."{column.name}"'
