"""Records of CSV. A row that cannot be read costs no other row."""

import csv
from collections.abc import Iterator
from typing import Any

from libs.common.contracts.sync import RECORD_BYTES_AT_MOST, SourceSpec
from services.sync.reading.answers import About, Found, text_of, unreadable
from services.sync.reading.mapping import Unreadable

DELIMITERS = ",;\t|"
COLUMNS_AT_MOST = 1_000


def csv_records(body: bytes, spec: SourceSpec, about: About) -> Found:
    """The rows as objects, named by the first row. Raises UnreadableBody."""
    rows = _Rows(text_of(body, about))
    first: Any = next(rows, [])
    names = [] if isinstance(first, Unreadable) else [name.strip() for name in first]
    if not any(names) or len(names) > COLUMNS_AT_MOST or names[0].startswith(("<", "{", "[")):
        raise unreadable(body, "This is not CSV with names in its first row.")
    return Found(_named(rows, names))


def _named(rows: "_Rows", names: list[str]) -> Iterator[Any]:
    for row in rows:
        if isinstance(row, Unreadable) or len(row) > len(names):
            yield row if isinstance(row, Unreadable) else Unreadable(rows.delimiter.join(row))
        elif row:
            cells = zip(names, row + [""] * (len(names) - len(row)), strict=True)
            yield {name: cell for name, cell in cells if name}


class _Rows(Iterator[Any]):
    """Rows as lists of text. After a row that breaks the rules, its second line is tried as the next row."""

    def __init__(self, text: str) -> None:
        csv.field_size_limit(RECORD_BYTES_AT_MOST)
        text = text if "\n" in text else text.replace("\r", "\n")  # of an old Macintosh
        self._text, self._at = text, 0
        head = text[: text.find("\n")] if "\n" in text else text
        self.delimiter = max(DELIMITERS, key=head.count)
        self._reader = self._opened()

    def __next__(self) -> Any:
        began = self._at
        try:
            return next(self._reader)
        except csv.Error:
            self._at = began
            line = self._line()
            self._reader = self._opened()
            return Unreadable(line.strip("\r\n"))

    def _opened(self) -> Iterator[list[str]]:
        return csv.reader(iter(self._line, ""), delimiter=self.delimiter, strict=True)

    def _line(self) -> str:
        end = self._text.find("\n", self._at) + 1 or len(self._text)
        line, self._at = self._text[self._at : end], end
        return line
