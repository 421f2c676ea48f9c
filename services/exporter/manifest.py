"""manifest.json: what a file is, so that it can be proved whole, and that a later export can go on from it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.blobs import Stored
from libs.common.contracts.exports import FORMAT_VERSION, ExportRequest
from libs.common.contracts.ids import public_id


def manifest_of(
    job: UUID, request: ExportRequest, stored: Stored, facts: dict[str, Any], as_of: datetime, snapshot: str
) -> dict[str, Any]:
    """The manifest of a file. `facts` are those of the job's result."""
    return {
        "format_version": FORMAT_VERSION,
        "job": public_id(job),
        "file": request.file_name,
        "dataset": request.dataset,
        "format": request.format,
        "options": request.options.model_dump(),
        "columns": [{"name": column.name, "type": column.kind} for column in request.chosen],
        "filter": request.filter,
        "since": request.since,
        "subject": request.subject,
        **facts,
        "as_of": as_of.isoformat(),
        "bytes": stored.size,
        "sha256": stored.sha256,
        "snapshot": snapshot,
    }
