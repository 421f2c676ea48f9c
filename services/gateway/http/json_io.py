"""JSON in and out: reads bodies and queries into models, reporting every invalid field, and writes responses."""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.http.nul import nul_in_json
from services.gateway.problems import BadRequest, TooLarge, UnsupportedMediaType, invalid_fields

M = TypeVar("M", bound=BaseModel)

LARGE_BYTES = 64 * 1024
"""A larger body is parsed in a thread, so that other requests are served meanwhile."""
_PERHAPS_NO_NUMBER = re.compile(rb"NaN|Infinity|[eE]\+?\d{3}|\d{200}")
"""Matches all that pydantic would read as NaN or infinity, which are not JSON. orjson refuses them."""


def _in_range(moment: datetime) -> datetime:
    if not 1970 <= moment.year <= 9000:
        raise ValueError("Between the years 1970 and 9000.")
    return moment


Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Text without NUL, which PostgreSQL cannot store."""
Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
"""A time with a zone, in a range that a database can store in any zone."""


async def read_json(request: Request, model: type[M], *, at_most: int = 256 * 1024) -> M:
    """The request's JSON body as a `model`, of `at_most` bytes.

    Raises UnsupportedMediaType, TooLarge, BadRequest, Invalid.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send application/json.")
    too_large = TooLarge(f"The body may have at most {at_most} bytes.", max_bytes=at_most)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > at_most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > at_most:
            raise too_large
    if len(body) > LARGE_BYTES:
        return await asyncio.to_thread(parse_json, bytes(body), model, within="body")
    return parse_json(bytes(body), model, within="body")


def parse_json(text: bytes | str, model: type[M], *, within: str) -> M:
    """`text` as a `model`. Types are strict: "5" is not a number. Raises BadRequest, Invalid."""
    text = text if isinstance(text, bytes) else text.encode()
    try:
        if _PERHAPS_NO_NUMBER.search(text):
            orjson.loads(text)
        read = model.model_validate_json(text, strict=True)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The {within} is not JSON: {error.msg}") from error
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise BadRequest(f"The {within} is not JSON: {error.errors()[0]['msg']}") from error
        raise invalid_fields(error, within=within) from error
    if nul_in_json(text):
        raise BadRequest(f"The {within} has a NUL character in a string.")
    return read


def read_query(request: Request, model: type[M]) -> M:
    """The request's query as a `model`. Raises Invalid."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid_fields(error, within="query") from error


def json_response(
    document: Mapping[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A response with `document` as JSON."""
    try:
        content = orjson.dumps(document)
    except TypeError:  # orjson has no integers beyond 64 bits, but a stored document may have
        content = to_json(document)
    return Response(content, status, headers, media_type="application/json")
