"""Reads a corpus of feeds, calendars and opportunities as the sync worker would: read, refused by reason, crashed.

    python -m benchmarks.sync_corpus FOLDER

FOLDER has `feeds/` (of feedparser's tests), `calendars/` (of icalendar's tests) and `opportunities/`. Each file of
feeds says in a comment what is expected of it; what it says of its entries is compared with the records. Each
calendar is compared with what icalendar itself finds in it, where that can read it.
"""

import asyncio
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import icalendar
import orjson

from libs.common.errors import ArgosyError
from libs.common.sandbox import Limits, Refusals, Sandbox
from services.sync.reading.answers import About
from services.sync.reading.page_reading import Read, read
from services.sync.refusals import ReadingCrashed, ReadingTooSlow, TooLarge

URL = "http://127.0.0.1:8097/tests/"
ANYWHERE = About(URL)
KEPT = {"id", "title", "link", "summary", "author", "publisher", "published", "updated", "created", "expired"}
DATES = {"published", "updated", "created", "expired"}
EXPECTED = re.compile(r"Expect:\s*(?:not bozo and|bozo and)?\s*(.*?)\s*(?:-->|$)")
OF_AN_ENTRY = re.compile(r"""^entries\[(\d+)\]\[['"](\w+)['"]\] == (u?['"].*['"])$""")
TIMES = re.compile(r"""^entries\[(\d+)\]\[['"](\w+)_parsed['"]\] == \((.*)\)$""")
HEADER = re.compile(r"^Header:\s*Content-type:\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)


class Corpus:
    """Reads files in a sandbox and counts what becomes of them."""

    def __init__(self, folder: Path) -> None:
        limits = Limits(512 * 1024**2, 60.0)
        self._folder = folder
        self._sandbox = Sandbox(
            limits,
            Refusals(ReadingTooSlow, TooLarge, ReadingCrashed),
            package="services.sync",
            preload=["services.sync.reading.page_reading"],
        )
        self.counts: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []

    async def read(
        self, kind: str, path: Path, spec: dict[str, Any], about: About = ANYWHERE
    ) -> list[dict[str, Any]]:
        """The lines of one file, refused ones too."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            into = Path(name) / "lines"
            whole = orjson.dumps({"url": URL, "format": kind} | spec).decode()
            sandbox = self._sandbox.reading(path).writing(Path(name))
            try:
                found: Read = await sandbox.run(read, whole, path, about, into)
            except ReadingCrashed as crash:
                self.counts[kind, "crashed"] += 1
                self.wrong.append(f"{path.name}: {crash}")
                return []
            except ArgosyError as error:
                self.counts[kind, f"file refused: {error.code}"] += 1
                return []
            lines = [orjson.loads(line) for line in into.read_bytes().splitlines()]
        self.counts[kind, "files read"] += 1
        self.counts[kind, "records"] += found.records - found.refused
        for line in lines:
            if refused := line.get("refused"):
                self.counts[kind, f"record refused: {refused['reason']}"] += 1
        return lines

    def compare(self, kind: str, path: Path, expected: object, found: object) -> None:
        """Count whether they are the same."""
        self.counts[kind, "as expected" if expected == found else "NOT as expected"] += 1
        if expected != found:
            self.wrong.append(f"{path.name}: {expected!r:.120} expected, {found!r:.120} found")


def raw_of(lines: list[dict[str, Any]]) -> list[Any]:
    """The records as they were received."""
    return [(line.get("record") or line["refused"])["raw"] for line in lines]


async def feed(corpus: Corpus, path: Path) -> None:
    """Read a feed, and compare one field of an entry, if the file says something of one."""
    head = path.read_bytes()[:4096].decode("utf-8", errors="replace")
    header = HEADER.search(head)
    lines = await corpus.read("feed", path, {}, About(URL, header[1] if header else ""))
    expected = EXPECTED.search(head)
    said = expected[1] if expected else ""
    if (of_entry := OF_AN_ENTRY.match(said)) and of_entry[2] in KEPT - DATES:
        value = eval(of_entry[3], {"__builtins__": {}})  # noqa: S307 - a text, in a corpus that one has chosen
        corpus.compare("feed", path, value, field_of(lines, int(of_entry[1]), of_entry[2]))
    elif (times := TIMES.match(said)) and times[2] in DATES:
        numbers = [int(number) for number in times[3].split(",")]
        moment = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*numbers[:6])
        corpus.compare("feed", path, moment, field_of(lines, int(times[1]), times[2]))


def field_of(lines: list[dict[str, Any]], number: int, name: str) -> Any:
    """Of a record as it was received."""
    records = raw_of(lines)
    return records[number].get(name) if number < len(records) else None


async def calendar(corpus: Corpus, path: Path) -> None:
    """Read a calendar, and compare titles and days with what icalendar finds in the whole file."""
    lines = await corpus.read("ics", path, {})
    try:
        whole = icalendar.Component.from_ical(path.read_bytes(), multiple=True)
        parts = [part for one in whole for part in one.walk() if part.name in ("VEVENT", "VTODO")]
        expected = [(str(part.get("summary", "")), day_of(part)) for part in parts]
    except Exception:  # it cannot read it, or not that part of it
        return
    found = [
        (str(raw.get("summary", "")), str(raw.get("start", ""))[:10])
        for raw in raw_of(lines)
        if isinstance(raw, dict)
    ]
    nothing = ("", "")  # an event without anything in it may be what is left of a file that breaks off
    corpus.compare(
        "ics", path, [one for one in expected if one != nothing], [one for one in found if one != nothing]
    )


def day_of(part: Any) -> str:
    """When a component starts."""
    start = part.get("dtstart")
    at = getattr(start[0] if isinstance(start, list) else start, "dt", None)
    return at.isoformat()[:10] if isinstance(at, date) else ""


async def opportunities(corpus: Corpus, folder: Path) -> None:
    """Read the tables of grants."""
    pennsylvania = {
        "records": "grants", "key": "slug", "title": "title", "summary": "overview", "url": "linkToApply",
        "agency": "issuingAgency", "opens_at": "openDate", "closes_at": "closeDate", "amount_max": "maximumAward",
    }  # fmt: skip
    california = {
        "records": "records", "fields": "fields[].id", "key": "PortalID", "title": "Title", "agency": "AgencyDept",
        "summary": "Description", "opens_at": "OpenDate", "closes_at": "ApplicationDeadline",
        "amount_max": "EstAvailFunds",
    }  # fmt: skip
    simpler = {"key": "opportunity_id", "title": "opportunity_title"}
    for kind, name, mapping in (
        ("json", "pennsylvania.json", pennsylvania),
        ("json", "california.json", california),
        ("csv", "simpler-opportunity.csv", simpler),
    ):
        await corpus.read(kind, folder / name, {"mapping": mapping, "time_zone": "America/New_York"})


def files(folder: Path, suffix: str) -> Iterator[Path]:
    """All of a folder, with those in it."""
    yield from sorted(path for path in folder.rglob("*") if path.suffix == suffix and path.is_file())


async def main(folder: Path) -> int:
    """Returns 1 if something crashed or is not as expected."""
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Corpus(Path(scratch))
        for path in files(folder / "feeds", ".xml"):
            await feed(corpus, path)
        for path in files(folder / "calendars", ".ics"):
            await calendar(corpus, path)
        await opportunities(corpus, folder / "opportunities")
    for (kind, what), count in sorted(corpus.counts.items()):
        print(f"{kind:5} {what:40} {count:6}")
    print(*corpus.wrong, sep="\n")
    return 1 if corpus.wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
