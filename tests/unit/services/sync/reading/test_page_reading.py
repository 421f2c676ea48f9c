"""From a body to a file with a line for each record."""

from pathlib import Path

import pytest

from libs.common.contracts.sync import SourceSpec
from services.sync.page import Line
from services.sync.reading.answers import About
from services.sync.reading.page_reading import map_anew, read
from services.sync.refusals import MappingFitsBadly


def spec(key: str = "id") -> str:
    return SourceSpec.model_validate(
        {"url": "https://example.org/", "format": "json", "mapping": {"key": key, "title": "name"}}
    ).model_dump_json()


def test_what_passes_and_what_does_not_is_written_and_can_be_mapped_anew(tmp_path: Path) -> None:
    body, lines, kept, again = (tmp_path / name for name in ("body", "lines", "kept", "again"))
    body.write_bytes(b'[{"id": 1, "name": "Water"}, {"name": "No key"}]')
    found = read(spec(), body, About("https://example.org/"), lines)
    assert (found.records, found.refused) == (2, 1)
    first, second = map(Line.model_validate_json, lines.read_bytes().splitlines())
    assert first.record is not None
    assert second.refused is not None
    kept.write_bytes(b'{"id": 1, "name": "Water"}\n{"name": "No key"}\n')
    assert map_anew(spec(), kept, again) == found
    assert again.read_bytes() == lines.read_bytes()
    assert map_anew(spec("name"), kept, again).refused == 0


def test_a_mapping_that_is_no_jmespath(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"[]")
    with pytest.raises(MappingFitsBadly):
        read(spec("a["), tmp_path / "body", About(""), tmp_path / "lines")
