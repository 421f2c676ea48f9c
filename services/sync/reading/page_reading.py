"""What runs in the sandbox: reads a body, maps its records, and writes a file with a line for each.

It has no network, and can read only the body and write only into one folder.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from libs.common.contracts.sync import Format, SourceSpec
from services.sync.reading.answers import About, Found
from services.sync.reading.csv_records import csv_records
from services.sync.reading.expressions import ExpressionFailed
from services.sync.reading.feed_records import feed_records
from services.sync.reading.ics_records import ics_records
from services.sync.reading.json_records import json_records
from services.sync.reading.jsonld_records import jsonld_records
from services.sync.reading.mapping import Mapper
from services.sync.refusals import MappingFitsBadly

WRITTEN_AT_ONCE = 1024**2
READERS: dict[Format, Callable[[bytes, SourceSpec, About], Found]] = {
    Format.FEED: feed_records,
    Format.JSON: json_records,
    Format.CSV: csv_records,
    Format.ICS: ics_records,
    Format.JSONLD: jsonld_records,
}


@dataclass(frozen=True, slots=True)
class Read:
    """What has been read of a body."""

    records: int
    """How many lines were written."""
    refused: int
    """How many of them are of records that do not pass."""
    digest: str
    """Of all lines."""
    told: str | int | float | bool | list[Any] | dict[str, Any] | None = None
    """What the page says of the next one."""
    ttl_s: int | None = None
    skip_hours: tuple[int, ...] = ()


def read(spec_json: str, body: Path, about: About, into: Path) -> Read:
    """Read and map a body, and write `into`. Raises UnreadableBody, MappingFitsBadly."""
    spec = SourceSpec.model_validate_json(spec_json)
    mapper = _mapper(spec, about.url)
    found = READERS[spec.format](body.read_bytes(), spec, about)
    records, refused, digest = _write(mapper, found.records, into)
    return Read(records, refused, digest, found.told, found.ttl_s, found.skip_hours)


def map_anew(spec_json: str, kept: Path, into: Path) -> Read:
    """Map records that were kept, a line of JSON each, and write `into`. Raises MappingFitsBadly."""
    spec = SourceSpec.model_validate_json(spec_json)
    with kept.open("rb") as lines:
        records, refused, digest = _write(_mapper(spec, spec.url), map(orjson.loads, lines), into)
    return Read(records, refused, digest)


def _mapper(spec: SourceSpec, url: str) -> Mapper:
    try:
        return Mapper(spec, url)
    except ExpressionFailed as error:
        raise MappingFitsBadly(f"The mapping is not JMESPath. {error}") from None


def _write(mapper: Mapper, records: Iterable[Any], into: Path) -> tuple[int, int, str]:
    count, refused, digest = 0, 0, blake2b(digest_size=16)
    with into.open("wb", WRITTEN_AT_ONCE) as file:
        for line, passes in map(mapper.line, records):
            file.write(line)
            digest.update(line)
            count += 1
            refused += not passes
    return count, refused, digest.hexdigest()
