"""JSON in and out: reads bodies and queries into models, reporting every invalid field, and writes responses."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, TypeVar, get_origin

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.json_documents import encoded
from services.gateway.field_errors import NAME_AT_MOST, not_json
from services.gateway.http import json_budgets
from services.gateway.http.json_budgets import VALUES_AT_MOST
from services.gateway.http.json_members import repeated_member
from services.gateway.http.large_bodies import RoomForBody
from services.gateway.http.nul import nul_in_json
from services.gateway.problems import (
    BadRequest,
    Invalid,
    TooLarge,
    UnsupportedMediaType,
    invalid_fields,
)

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

BODY_BYTES_AT_MOST = 256 * 1024
"""The size of a body for which nothing else is said."""
SHORT_BYTES = 16 * 1024
"""A body that is parsed on the event loop. It may have a thousand email addresses, which take 80 ms."""
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="json")
"""Where longer bodies are parsed: one thread, so that the event loop waits for the interpreter's lock no longer
than one call into the parser takes, which is 100 ms for VALUES_AT_MOST values."""


TWICE = "It is given more than once."
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Text without NUL, which PostgreSQL cannot store."""


async def read_json(request: Request, model: type[M], *, at_most: int = BODY_BYTES_AT_MOST) -> M:
    """The request's JSON body as a `model`, of `at_most` bytes and VALUES_AT_MOST values.

    Raises UnsupportedMediaType, TooLarge, BadRequest, Invalid, and what RoomForBody raises.
    """
    async with RoomForBody(request) as room:
        body = await read_body(request, room, at_most=at_most)
        return await parse_in_turn(partial(parse_json, body, model, within="body"), len(body))


async def read_json_if_any(request: Request, model: type[M]) -> M:
    """The JSON body as a `model`, or its defaults if there is no body. Raises what `read_json` raises."""
    has_one = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return await read_json(request, model) if has_one else model()


def media_type_of(request: Request) -> str:
    """The media type of the request's body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(
    request: Request, room: RoomForBody, *, at_most: int, media_types: Collection[str] = ("application/json",)
) -> bytes:
    """The request's body, of one of `media_types`, as text.

    Raises UnsupportedMediaType, TooLarge, and what `room` raises.
    """
    if media_type_of(request) not in media_types:
        raise UnsupportedMediaType(f"Send {' or '.join(media_types)}.")
    announced = request.headers.get("content-length", "")
    if announced.isdigit():
        await _make_room(int(announced), room, at_most)
    chunks, size = list[bytes](), 0
    async for chunk in request.stream():
        size += len(chunk)
        await _make_room(size, room, at_most)
        chunks.append(chunk)
    return b"".join(chunks)


async def _make_room(size: int, room: RoomForBody, at_most: int) -> None:
    if size > at_most:
        raise TooLarge(f"The body may have at most {at_most} bytes.", max_bytes=at_most)
    await room.reserve(size)


async def parse_in_turn(parse: Callable[[], T], size: int) -> T:
    """What `parse` makes of a body of `size` bytes: at once if it is short, otherwise in the thread."""
    if size <= SHORT_BYTES:
        return parse()
    return await asyncio.get_running_loop().run_in_executor(_THREAD, parse)


def parse_json(text: bytes, model: type[M], *, within: str, values_at_most: int = VALUES_AT_MOST) -> M:
    """`text` as a `model`. Types are strict: "5" is not a number. Raises TooLarge, BadRequest, Invalid."""
    json_budgets.check(text, within=within, values_at_most=values_at_most)
    if nul_in_json(text):
        raise BadRequest(f"The {within} has a NUL character in a string.")
    if repeated := repeated_member(text):
        raise Invalid(errors=[{"field": f"{within}.{repeated}"[:NAME_AT_MOST], "message": TWICE}])
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        if reason := _syntax_error(error):
            raise BadRequest(f"The {within} is not JSON: {not_json(reason)}") from error
        raise invalid_fields(error, within=within, document=from_json(text)) from error


def _syntax_error(error: ValidationError) -> str | None:
    """Where the parser stopped, or None if it did not."""
    if error.error_count() > 1:
        return None
    (only,) = error.errors(include_url=False, include_input=False, include_context=False)
    return only["msg"] if only["type"] == "json_invalid" else None


def read_query(request: Request, model: type[M]) -> M:
    """The request's query as a `model`; a field that is a tuple may be given several times. Raises Invalid."""
    given = request.query_params
    lists = {name for name, field in model.model_fields.items() if get_origin(field.annotation) is tuple}
    repeated = [name for name in given if name not in lists and len(given.getlist(name)) > 1]
    if repeated:
        raise Invalid(errors=[{"field": f"query.{name}"[:NAME_AT_MOST], "message": TWICE} for name in repeated])
    try:
        return model.model_validate(
            {name: given.getlist(name) if name in lists else given[name] for name in given}
        )
    except ValidationError as error:
        raise invalid_fields(error, within="query") from error


def json_response(
    document: Mapping[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A response with `document` as JSON."""
    return Response(encoded(document), status, headers, media_type="application/json")
