"""What an operation of the API is: its endpoint, and all that admission and /openapi.json must know of it."""

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
    """A successful answer. `document`: the type of its JSON; None for one without, or of another media type."""

    document: Any = None
    media_type: str | None = "application/json"
    headers: tuple[str, ...] = ()


NO_CONTENT = Answer(media_type=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. Its endpoint's docstring is its description.

    `scope`: what the caller must be allowed to do; None: open to everybody. `limits`: the policies it is charged
    to, beside those of every request. `deadline_s`: seconds until it is given up; None where the answer streams.
    """

    method: str
    path: str
    endpoint: Endpoint
    scope: Scope | None
    limits: tuple[str, ...] = ("api",)
    urgency: Urgency = Urgency.MANAGE
    deadline_s: float | None = 15.0
    body: type[BaseModel] | None = None
    multipart: type[BaseModel] | None = None
    """The part `options` beside a part `file`."""
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    answers: Mapping[int, Answer] = field(default_factory=dict)
    problems: tuple[type[Problem], ...] = ()

    @property
    def reads(self) -> bool:
        """Whether the request has a body that means something."""
        return self.body is not None or self.multipart is not None
