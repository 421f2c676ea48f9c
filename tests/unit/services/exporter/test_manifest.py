"""A manifest says what the file is."""

from datetime import UTC, datetime

from libs.common.blobs import Stored
from libs.common.contracts.exports import ExportRequest
from libs.common.ledger.jobs import new_id
from services.exporter.manifest import manifest_of


def test_it_has_what_proves_the_file() -> None:
    request = ExportRequest.model_validate({"dataset": "jobs", "format": "csv", "columns": ["state", "bytes"]})
    as_of = datetime(2026, 11, 27, tzinfo=UTC)
    made = manifest_of(new_id(), request, Stored(7, "ab"), {"rows": 3}, as_of, "10:20:")
    assert (made["rows"], made["bytes"], made["sha256"], made["snapshot"]) == (3, 7, "ab", "10:20:")
    assert made["columns"] == [{"name": "state", "type": "text"}, {"name": "bytes", "type": "integer"}]
    assert (made["file"], made["as_of"]) == ("jobs.csv", "2026-11-27T00:00:00+00:00")
