"""JSON bodies and queries, read into models; every wrong field is reported."""

from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from services.gateway.problems import BadRequest, TooLarge, UnsupportedMediaType, invalid_fields

M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request, model: type[M], *, at_most: int = 256 * 1024) -> M:
    """The request's JSON body as a `model`. Raises UnsupportedMediaType, TooLarge, BadRequest, Invalid."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > at_most:
            raise TooLarge(f"The body may have at most {at_most} bytes.", max_bytes=at_most)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}") from error
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid_fields(error, within="body") from error


def read_query(request: Request, model: type[M]) -> M:
    """The request's query as a `model`. Raises Invalid."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid_fields(error, within="query") from error
