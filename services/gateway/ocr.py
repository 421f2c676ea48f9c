"""POST /v1/ocr: a document in, a job out."""

from typing import Any

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.ocr import OcrOptions, OcrPayload
from libs.common.ledger.jobs import new_id
from services.gateway.auth import may_write
from services.gateway.limits import Policy
from services.gateway.problems import Invalid, LimitExceeded, invalid_fields
from services.gateway.submitting import JobFields, submit
from services.gateway.uploads import receive


class OcrSubmission(OcrOptions, JobFields):
    """The part `options`."""


async def submit_ocr(request: Request) -> Response:
    """multipart: `file`, and `options` as JSON if any."""
    state = request.app.state
    principal = await state.keys.principal(request)
    may_write(principal)
    decision = await state.limiter.take(Policy("ocr", state.settings.ocr_limit_per_hour, 3600), principal.key_id)
    if not decision.admitted:
        raise LimitExceeded(
            f"At most {decision.policy.limit} documents an hour.",
            headers=decision.headers,
            **{"violated-policies": [decision.policy.name]},
        )
    job_id = new_id()
    key = f"jobs/{principal.tenant}/{job_id.hex}/upload"
    upload = await receive(request, state.blobs, key, max_bytes=state.settings.gateway_max_upload_bytes)
    try:
        options = _options(upload.fields)
        payload = OcrPayload(
            source=key,
            filename=upload.filename[:255],
            media_type=upload.media_type,
            options=OcrOptions(**options.model_dump(include=set(OcrOptions.model_fields))),
        )
        return await submit(
            request,
            principal,
            job_id=job_id,
            queue="ocr",
            kind="document",
            payload=payload.model_dump_json().encode(),
            fields=options,
            headers=decision.headers,
        )
    except Invalid:
        await state.blobs.delete(key)
        raise


def _options(fields: dict[str, str]) -> OcrSubmission:
    unknown = sorted(set(fields) - {"options"})
    if unknown:
        raise Invalid(errors=[{"field": name, "message": "Unknown field"} for name in unknown])
    try:
        document: Any = orjson.loads(fields.get("options") or "{}")
    except orjson.JSONDecodeError as error:
        raise Invalid(errors=[{"field": "options", "message": f"Not JSON: {error}"}]) from error
    try:
        return OcrSubmission.model_validate(document)
    except ValidationError as error:
        raise invalid_fields(error, within="options") from error
