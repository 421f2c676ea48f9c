"""A manifest says what each file is."""

from datetime import UTC, datetime

from libs.common.contracts.exports import ExportRequest
from libs.common.contracts.ids import public_id
from libs.common.db import Snapshot
from libs.common.ledger.jobs import new_id
from libs.common.worker.job import Artifact
from services.exporter.manifest import Written, manifest_of


def test_it_has_what_proves_each_file() -> None:
    requests = [
        ExportRequest.model_validate({"dataset": "jobs", "format": "csv", "columns": ["state", "bytes"]}),
        ExportRequest.model_validate({"dataset": "recipients", "format": "xlsx"}),
    ]
    files = [
        Written(request, Artifact(name, request.media_type, 7, "ab" * number, "key"), {"rows": number, "bytes": 7})
        for number, (name, request) in enumerate(zip(["jobs.csv", "recipients.xlsx"], requests, strict=True), 1)
    ]
    job = new_id()
    made = manifest_of(job, files, Snapshot("name", "10:20:", datetime(2026, 11, 27, tzinfo=UTC), 0.0))
    assert (made["job"], made["as_of"], made["snapshot"]) == (
        public_id(job),
        "2026-11-27T00:00:00.000000Z",
        "10:20:",
    )
    first, second = made["files"]
    assert first["columns"] == [{"name": "state", "type": "text"}, {"name": "bytes", "type": "integer"}]
    assert [first[name] for name in ("file", "dataset", "rows", "bytes", "sha256")] == [
        "jobs.csv", "jobs", 1, 7, "ab",
    ]  # fmt: skip
    assert [second[name] for name in ("file", "format", "rows", "sha256")] == [
        "recipients.xlsx", "xlsx", 2, "abab",
    ]  # fmt: skip
