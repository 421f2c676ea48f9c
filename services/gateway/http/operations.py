"""An operation of the API: its endpoint, and what admission and /openapi.json need to know about it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.http.load_shedding import Urgency
from services.gateway.identity.scopes import Scope
from services.gateway.problems import Problem

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful response. `document` is the type of its JSON; None without a body or for another media type."""

    document: Any = None
    media_types: tuple[str, ...] = ("application/json",)
    headers: tuple[str, ...] = ()
    is_file: bool = False
    """The body is the bytes of a file, of whichever type."""


NO_CONTENT = Answer(media_types=())
PAGE = Answer(media_types=("text/html",))
FILE_TYPES = (
    "application/octet-stream",
    "application/pdf",
    "application/json",
    "application/x-ndjson",
    "application/gzip",
    "application/alto+xml",
    "application/vnd.apache.parquet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "text/plain",
    "text/csv",
    "text/tab-separated-values",
    "text/vnd.hocr+html",
)
"""What the workers here give their files; one of your own may give others."""
_FILE = Answer(
    media_types=FILE_TYPES, is_file=True, headers=("ETag", "Accept-Ranges", "Content-Disposition", "Content-Range")
)
FILE = {200: _FILE, 206: _FILE, 304: NO_CONTENT}
"""The answers of an operation that gives a file, or a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. The docstring of its endpoint is its description in /openapi.json.

    `scope`: the scope that the caller needs; None means open to everybody. `limits`: the policies that charge it,
    beside those of every request with a scope; without one, all of them. `reconnect_limits`: those that charge it
    instead of `limits` and `burst` if it goes on with an earlier stream (Last-Event-ID). `public_limits`: those
    that charge it instead of `limits` and `burst` if the key is public. `deadline_s`: its timeout in seconds; None
    for a streamed response.
    """

    method: str
    path: str
    endpoint: Endpoint
    scope: Scope | None
    limits: tuple[str, ...] = ("api",)
    reconnect_limits: tuple[str, ...] = ()
    public_limits: tuple[str, ...] = ()
    urgency: Urgency | None = Urgency.MANAGE
    """None: it is admitted at any load."""
    deadline_s: float | None = 15.0
    body: type[BaseModel] | None = None
    other_bodies: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    """The models of bodies of other media types than application/json, by media type; None for JSON lines."""
    body_required: bool = True
    multipart: type[BaseModel] | None = None
    """The model of the part `options`, beside a part `file`."""
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    answers: Mapping[int, Answer] = field(default_factory=dict)
    problems: tuple[type[Problem], ...] = ()

    @property
    def reads(self) -> bool:
        """Whether the operation reads the request body."""
        return self.body is not None or self.multipart is not None
