"""Finds the operation that a request is for, by its path and its method."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.routing import Match, Route, Router
from starlette.types import Lifespan, Receive, Scope, Send

from services.gateway.http.admission import Admission, charge_stranger
from services.gateway.http.operations import Operation
from services.gateway.http.state import asked_of
from services.gateway.http.well_formed import refusal_of
from services.gateway.problems import FORESEEN, MethodNotAllowed, NotFound, Problem, response_to

_ENCODED_SLASH = "\x00"
"""Stands for it while routes are tried. No path has a NUL of its own."""
_OF_CALLERS = re.compile(r"{(subject|address)}$")


class MethodDispatch:
    """An ASGI application for all operations of one path."""

    def __init__(self, admissions: dict[str, Admission]) -> None:
        self._admissions = admissions
        self._allowed = ", ".join(sorted({*admissions, *(["HEAD"] if "GET" in admissions else [])}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the operation of its method. Raises MethodNotAllowed."""
        admission = self._admissions.get("GET" if scope["method"] == "HEAD" else scope["method"])
        if admission is None:
            await charge_stranger(scope)
            raise MethodNotAllowed(headers={"Allow": self._allowed})
        scope["endpoint"] = admission
        await admission(scope, receive, send)


class OperationRouter(Router):
    """Starlette's router, which tries only routes that can match: the exact path, or those with the same prefix.

    It turns FORESEEN errors into responses.
    """

    def __init__(self, routes: Sequence[Route], lifespan: Lifespan[Starlette]) -> None:
        super().__init__(routes, redirect_slashes=False, lifespan=lifespan)
        self._by_path = {route.path: route for route in routes if not route.param_convertors}
        self._by_prefix: dict[str, list[Route]] = {}
        for route in routes:
            if route.param_convertors:
                self._by_prefix.setdefault(_prefix(route.path), []).append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to its route."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        try:
            route = await self._found(scope)
            await route.handle(scope, receive, send)
        except FORESEEN as error:
            await response_to(error, asked_of(scope))(scope, receive, send)

    async def _found(self, scope: Scope) -> Route:
        """The request's route. Raises what is wrong with it, after charging the client's address."""
        try:
            if refusal := scope.get("argosy.refusal") or refusal_of(scope):
                raise refusal
            return self._find(scope)
        except Problem:
            await charge_stranger(scope)
            raise

    def _find(self, scope: Scope) -> Route:
        path = _path_to_match(scope)
        if route := self._by_path.get(path):
            scope["endpoint"] = route.endpoint
            return route
        for route in self._by_prefix.get(_prefix(path), ()):
            match, found = route.matches({**scope, "path": path})
            if match is Match.FULL:
                scope.update(found)
                scope["path_params"] = {
                    name: value.replace(_ENCODED_SLASH, "/") for name, value in scope["path_params"].items()
                }
                return route
        raise NotFound


def _path_to_match(scope: Scope) -> str:
    """The path, in which a slash that was sent as `%2F` ends no part of it (RFC 3986, 2.2)."""
    path: str = scope["path"]
    sent: bytes = scope.get("raw_path") or b""
    if b"%2F" not in sent.upper():
        return path
    return "/".join(unquote(part.decode("ascii")).replace("/", _ENCODED_SLASH) for part in sent.split(b"/"))


def _prefix(path: str) -> str:
    """`/v1/jobs` of `/v1/jobs/{id}/events`."""
    return "/".join(path.split("/", 3)[:3])


def routes_for(operations: Iterable[Operation]) -> list[Route]:
    """One route for each path, in the order given."""
    paths: dict[str, dict[str, Admission]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = Admission(operation)
    return [_route(path, admissions) for path, admissions in paths.items()]


def _route(path: str, admissions: dict[str, Admission]) -> Route:
    """A route. What callers have made up themselves may have slashes; it stands at the end of the path."""
    route = Route(_OF_CALLERS.sub(r"{\1:path}", path), MethodDispatch(admissions))
    route.path = path
    return route
