"""An XLSX file as it grows: four small parts around sheets of rows, zipped while they come.

Nothing is kept but what has just been compressed. A new sheet begins where a spreadsheet has no more rows, or
before a part becomes too large for a zip file without extensions, which some readers lack.
"""

import io
import zipfile
from collections.abc import Sequence
from html import escape

from libs.common.contracts.datasets import Column

ROWS_AT_MOST = 1_048_576
"""Rows of a sheet, with the one that has the names of the columns."""
PART_BYTES_AT_MOST = 1_500_000_000
COLUMNS_AT_MOST = 16_384
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_SHEET_BEGIN = (
    f'{_DECLARATION}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
    '<cols><col min="1" max="{columns}" width="20" customWidth="1"/></cols><sheetData>\n<row>{names}</row>\n'
)
_SHEET_END = b"</sheetData></worksheet>"
# Formats of cells by number: 0 general, 1 a time, 2 a day, 3 text that was cut, 4 text that lost characters.
_STYLES = (
    f'{_DECLARATION}<styleSheet xmlns="{_MAIN}"><numFmts count="1">'
    '<numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
    '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="5"><xf/>'
    '<xf numFmtId="164" applyNumberFormat="1"/><xf numFmtId="14" applyNumberFormat="1"/><xf/><xf/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
    "</styleSheet>"
)


class Workbook:
    """Takes lines of rows, and hands out the file. Its methods compress: call them in a thread."""

    def __init__(self, name: str, columns: Sequence[Column], *, rows_at_most: int = ROWS_AT_MOST) -> None:
        self.sheets = 0
        self._name = name
        names = "".join(f'<c t="inlineStr"><is><t>{escape(column.name)}</t></is></c>' for column in columns)
        self._begin = _SHEET_BEGIN.format(columns=len(columns), names=names).encode()
        self._rows_at_most = rows_at_most
        self._rows = self._bytes = 0
        self._at_the_end_of_a_line = True
        self._made = _Made()
        self._zip = zipfile.ZipFile(self._made, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._begin_sheet()

    def add(self, lines: bytes) -> bytes:
        """Take rows, one a line; the pieces may end anywhere. Returns what has become of the file since."""
        while lines:
            room = self._rows_at_most - self._rows
            if not room or (self._bytes > PART_BYTES_AT_MOST and self._at_the_end_of_a_line):
                self._end_sheet()
                self._begin_sheet()
                continue
            piece = _first_lines(lines, room)
            self._sheet.write(piece)
            self._rows += piece.count(b"\n")
            self._bytes += len(piece)
            self._at_the_end_of_a_line = piece.endswith(b"\n")
            lines = lines[len(piece) :]
        return self._made.take()

    def end(self) -> bytes:
        """End the last sheet. Returns the rest of the file."""
        self._end_sheet()
        numbers = range(1, self.sheets + 1)
        sheets = "".join(
            f'<sheet name="{self._title(number)}" sheetId="{number}" r:id="rId{number}"/>' for number in numbers
        )
        targets = [("worksheet", f"worksheets/sheet{number}.xml") for number in numbers]
        self._write(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{sheets}</sheets></workbook>',
        )
        self._write("xl/_rels/workbook.xml.rels", _relations([*targets, ("styles", "styles.xml")]))
        self._write("_rels/.rels", _relations([("officeDocument", "xl/workbook.xml")]))
        self._write("xl/styles.xml", _STYLES.removeprefix(_DECLARATION))
        types = [("xl/workbook.xml", "sheet.main"), ("xl/styles.xml", "styles")]
        types += [(f"xl/worksheets/sheet{number}.xml", "worksheet") for number in numbers]
        overrides = "".join(
            f'<Override PartName="/{part}" ContentType="{_TYPE}.{what}+xml"/>' for part, what in types
        )
        self._write(
            "[Content_Types].xml",
            f'<Types xmlns="{_PACKAGE}/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f"{overrides}</Types>",
        )
        self._zip.close()
        return self._made.take()

    def _title(self, number: int) -> str:
        return self._name if number == 1 else f"{self._name} {number}"

    def _begin_sheet(self) -> None:
        self.sheets += 1
        self._sheet = self._zip.open(f"xl/worksheets/sheet{self.sheets}.xml", "w")
        self._sheet.write(self._begin)
        self._rows, self._bytes = 1, 0

    def _end_sheet(self) -> None:
        self._sheet.write(_SHEET_END)
        self._sheet.close()

    def _write(self, part: str, text: str) -> None:
        with self._zip.open(part, "w") as file:
            file.write((_DECLARATION + text).encode())


class _Made(io.RawIOBase):
    """Takes what is written, as a file that cannot be sought, until it is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """Keep a piece."""
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        """What has been written since the last time."""
        made = b"".join(self._pieces)
        self._pieces.clear()
        return made


def _relations(targets: Sequence[tuple[str, str]]) -> str:
    each = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{what}" Target="{target}"/>'
        for number, (what, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{each}</Relationships>'


def _first_lines(text: bytes, number: int) -> bytes:
    """Up to `number` lines from the beginning of `text`, and what follows them if there are fewer."""
    if text.count(b"\n") < number:
        return text
    end = 0
    for _ in range(number):
        end = text.index(b"\n", end) + 1
    return text[:end]
