"""POST /v1/ocr: submit a document, get a job."""

import hashlib
from typing import Annotated, Any

import orjson
from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.blobs import job_folder
from libs.common.contracts.ids import parse_id
from libs.common.contracts.ocr import LANGUAGES, OcrOptions, OcrPayload
from libs.common.errors import BlobMissing
from libs.common.ledger import jobs, retention
from libs.common.ledger.jobs import new_id
from services.gateway.endpoints.passwords import Password, fingerprint, sealed
from services.gateway.endpoints.recurrence import Recurrence
from services.gateway.endpoints.submission import JobFields, new_job, submit
from services.gateway.endpoints.uploads import UPLOAD, Upload, receive
from services.gateway.http.admission import caller
from services.gateway.http.json_io import parse_json
from services.gateway.http.state import state_of
from services.gateway.identity.scopes import Principal
from services.gateway.problems import BadRequest, Conflict, IdempotencyMismatch, Invalid, invalid_fields


class OcrSubmission(OcrOptions, JobFields):
    """The JSON part `options` of POST /v1/ocr."""

    password: Password | None = None
    """The password of an encrypted PDF. It is forgotten when the job ends."""


async def submit_ocr(request: Request) -> Response:
    """Submit a document as multipart/form-data: the part `file`, and optionally `options` as JSON."""
    state = state_of(request)
    principal = caller(request)
    job_id = new_id()
    folder = job_folder(principal.tenant, job_id)
    await retention.announce_upload(state.database, job_id, folder)
    upload = await receive(
        request,
        state.blobs,
        folder,
        max_bytes=state.settings.gateway_max_upload_bytes,
        known_fields=("options",),
    )
    try:
        fields = _fields(upload.fields)
        await _refuse_absent_languages(request, fields, within="options")
        payload = OcrPayload(
            source=f"{folder}/{UPLOAD}",
            filename=upload.filename.replace("\x00", "")[:255],
            media_type=upload.media_type,
            options=OcrOptions(**fields.model_dump(include=set(OcrOptions.model_fields))),
        )
        job = new_job(
            request,
            principal,
            fields,
            job_id=job_id,
            queue="ocr",
            kind="document",
            payload=payload.model_dump_json(exclude_defaults=True).encode(),
            fingerprint=_fingerprint(upload, fields, fingerprint(request, fields.password, within="options")),
            size=upload.stored.size,
            secret=sealed(request, fields.password, principal.tenant, job_id, within="options"),
        )
        return await submit(request, job)
    except (Invalid, IdempotencyMismatch):
        await state.blobs.discard(folder)
        raise


def _fingerprint(upload: Upload, fields: OcrSubmission, password: str | None = None) -> bytes:
    """A hash that is equal for the same file, name and options. `password`: what `fingerprint` makes of it."""
    options = fields.model_dump_json(exclude={"password"}, exclude_defaults=True)  # those of later versions too
    return hashlib.sha256(orjson.dumps([upload.stored.sha256, upload.filename, options, password])).digest()


def _fields(fields: dict[str, str]) -> OcrSubmission:
    try:
        return parse_json((fields.get("options") or "{}").encode(), OcrSubmission, within="options")
    except BadRequest as error:
        raise Invalid(errors=[{"field": "options", "message": str(error)}]) from error


async def _refuse_absent_languages(request: Request, options: OcrOptions, *, within: str) -> None:
    """Raises Invalid if no worker could read the document in all of its languages; Unavailable."""
    wanted = options.languages
    offered = await state_of(request).offers.without("ocr", LANGUAGES, wanted)
    if offered is not None:
        absent = ", ".join(sorted(set(wanted) - offered))
        message = f"Not installed: {absent}. Installed: {', '.join(sorted(offered))}."
        raise Invalid(errors=[{"field": f"{within}.{LANGUAGES}", "message": message}])


class RecurringDocument(OcrOptions):
    """The payload of a recurring OCR job: the job of a document submitted before, and its options."""

    document: Annotated[str, Field(pattern="^job_[0-9a-f]{32}$")]


async def recurring_document(
    request: Request, principal: Principal, folder: str, payload: dict[str, Any]
) -> Recurrence:
    """A recurring OCR job. Copies the document to `folder`. Raises Invalid, Conflict."""
    state = state_of(request)
    try:
        document = RecurringDocument.model_validate(payload)
    except ValidationError as error:
        raise invalid_fields(error, within="body.payload") from error
    await _refuse_absent_languages(request, document, within="body.payload")
    job_id = parse_id(document.document)
    found = job_id and await jobs.payload(state.database, principal.tenant, job_id, queue="ocr")
    source = f"{folder}/{UPLOAD}"
    try:
        if not found:
            raise BlobMissing
        await state.blobs.copy(found["source"], source)
    except BlobMissing:
        raise Conflict("There is no OCR job with that id, or its document is no longer stored.") from None
    options = OcrOptions(**document.model_dump(exclude={"document"}))
    recurring = OcrPayload(
        source=source, filename=found["filename"], media_type=found["media_type"], options=options
    )
    return Recurrence("document", recurring.model_dump_json(exclude_defaults=True).encode())
