"""GET /v1/jobs/{id}/artifacts/{name}: a file that a job made, whole or in part."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common import metrics
from libs.common.errors import BlobMissing
from libs.common.ledger.jobs import JobFacts
from services.gateway.endpoints.jobs import find_job
from services.gateway.http.conditions import names_etag
from services.gateway.http.state import state_of
from services.gateway.problems import NotFound, RangeNotSatisfiable


async def download(request: Request) -> Response:
    """Download an artifact, with ETag, If-Range and Range (one range; several return the whole file).

    A file that is no longer stored is 404. The answer begins when the first bytes are there.
    """
    artifact = artifact_of(await find_job(request), request.path_params["name"])
    return await send(request, artifact, "key", {"Cache-Control": "private, immutable, max-age=31536000"})


async def send(
    request: Request, artifact: Mapping[str, Any], how: str, header_fields: Mapping[str, str]
) -> Response:
    """The file of `artifact`, as far as it is asked for. `how`: the label of the metric.

    Raises NotFound, RangeNotSatisfiable, StorageUnavailable.
    """
    size: int = artifact["size"]
    etag = f'"{artifact["sha256"]}"'
    saved_as = artifact.get("filename") or artifact["name"]
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        **header_fields,
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(saved_as)}",
        "Content-Type": artifact["media_type"],
    }
    if names_etag(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    span = None
    if request.method == "GET" and request.headers.get("if-range", etag) == etag:
        span = wanted_range(request.headers.get("range"), size)
    start, end = span or (0, size)
    headers["Content-Length"] = str(end - start)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if span else 200
    blobs, key = state_of(request).blobs, artifact["key"]
    try:
        if request.method == "HEAD" or start == end:
            await blobs.find(key)
            return Response(status_code=status, headers=headers)
        content = await _begun(blobs.read(key, start=start, end=end if span else None))
    except BlobMissing as error:
        raise NotFound("This file is no longer stored.") from error
    metrics.export_downloads.labels(how).inc()
    return StreamingResponse(content, status_code=status, headers=headers)


async def _begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`chunks`, of which the first one has been read. Raises what the reading raises."""
    first = await anext(chunks, b"")

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return whole()


def artifact_of(facts: JobFacts, name: str) -> dict[str, Any]:
    """The artifact `name` of a job. Raises NotFound."""
    for artifact in facts["artifacts"] or ():
        if artifact["name"] == name:
            found: dict[str, Any] = artifact
            return found
    raise NotFound("This job has no such artifact.")


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and exclusive end in bytes of a Range header of a GET; None for the whole file (RFC 9110, 14.2).

    Raises RangeNotSatisfiable.
    """
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (header or "").strip())
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:  # the last N bytes
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise RangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return start, end
