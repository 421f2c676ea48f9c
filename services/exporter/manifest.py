"""manifest.json: what the files are, so that each can be proved whole, and a later export can go on from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from libs.common.contracts.exports import FORMAT_VERSION, ExportRequest
from libs.common.contracts.ids import public_id
from libs.common.contracts.moments import written
from libs.common.db import Snapshot
from libs.common.worker.job import Artifact


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is whole."""

    request: ExportRequest
    artifact: Artifact
    facts: dict[str, int]
    """How many rows and bytes it has, and what else there is to say of its format. They are the job's result."""


def manifest_of(job: UUID, files: Sequence[Written], snapshot: Snapshot) -> dict[str, Any]:
    """The manifest of files that are as of one moment."""
    return {
        "format_version": FORMAT_VERSION,
        "job": public_id(job),
        "as_of": written(snapshot.as_of),
        "snapshot": snapshot.seen,
        "files": [_described(file) for file in files],
    }


def _described(file: Written) -> dict[str, Any]:
    request = file.request
    return {
        "file": file.artifact.name,
        "dataset": request.dataset,
        "format": request.format,
        "options": request.options.model_dump(),
        "columns": [{"name": column.name, "type": column.kind} for column in request.chosen],
        "filter": request.filter,
        "since": request.since,
        "subject": request.subject,
        **file.facts,
        "sha256": file.artifact.sha256,
    }
