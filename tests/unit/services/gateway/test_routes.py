"""The router: the same answers as Starlette's would give, found by looking at few routes."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from libs.common.errors import Unavailable
from services.gateway.problems import NotFound
from services.gateway.routes import OPERATIONS, PUBLIC_ROUTES, MethodDispatch, OperationRouter, routes_for


async def parameters(request: Request) -> Response:
    """What the path says."""
    return PlainTextResponse(f"{request.method} {request.path_params}")


async def away(_request: Request) -> Response:
    """A server is away."""
    raise Unavailable("secret address")


ROUTES = [
    Route("/v1/jobs", parameters),
    Route("/v1/jobs/cancel", parameters, methods=["POST"]),
    Route("/v1/jobs/{id}", parameters, methods=["GET", "POST"]),
    Route("/v1/jobs/{id}/artifacts/{name}", parameters),
    Route("/v1/away", away),
]


async def asked(app: Any, method: str, path: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and header fields."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent).decode()
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], body, headers


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/v1/jobs", 200, "GET {}"),
        ("POST", "/v1/jobs/cancel", 200, "POST {}"),
        ("GET", "/v1/jobs/7", 200, "GET {'id': '7'}"),
        ("GET", "/v1/jobs/7/artifacts/a.txt", 200, "GET {'id': '7', 'name': 'a.txt'}"),
        ("GET", "/v1/jobs/", 404, None),
        ("GET", "/v1/jobs/7/", 404, None),
        ("GET", "/v1/jobs/7/artifacts", 404, None),
        ("GET", "/v1", 404, None),
        ("GET", "/", 404, None),
        ("GET", "", 404, None),
        ("GET", "/v1/job", 404, None),
    ],
)
async def test_a_path_leads_to_its_route(method: str, path: str, status: int, body: str | None) -> None:
    answered, said, headers = await asked(OperationRouter(ROUTES, lifespan=None), method, path)  # type: ignore[arg-type]
    assert answered == status
    if body is None:
        assert headers["content-type"] == "application/problem+json"
    else:
        assert said == body


async def test_what_is_foreseen_is_a_problem_and_tells_no_secret() -> None:
    status, said, _ = await asked(OperationRouter(ROUTES, lifespan=None), "GET", "/v1/away")  # type: ignore[arg-type]
    assert status == 503
    assert "secret" not in said


def dispatching(*methods: str) -> MethodDispatch:
    def admission(method: str) -> Any:
        async def admit(_scope: Scope, _receive: Receive, send: Send) -> None:
            await PlainTextResponse(method)({"type": "http", "method": "GET"}, _receive, send)

        return admit

    return MethodDispatch({method: admission(method) for method in methods})


async def test_each_method_has_its_operation_and_head_that_of_get() -> None:
    router = OperationRouter([Route("/x", dispatching("GET", "PUT"))], lifespan=None)  # type: ignore[arg-type]
    assert (await asked(router, "PUT", "/x"))[1] == "PUT"
    assert (await asked(router, "HEAD", "/x"))[1] == "GET"
    status, _, headers = await asked(router, "DELETE", "/x")
    assert (status, headers["allow"]) == (405, "GET, HEAD, PUT")
    writes = OperationRouter([Route("/x", dispatching("PUT"))], lifespan=None)  # type: ignore[arg-type]
    status, _, headers = await asked(writes, "HEAD", "/x")
    assert (status, headers["allow"]) == (405, "PUT")


def test_no_two_operations_have_the_same_method_and_path() -> None:
    assert len({(one.method, one.path) for one in OPERATIONS}) == len(OPERATIONS)
    assert len(routes_for(OPERATIONS)) == len({one.path for one in OPERATIONS})


@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_every_operation_is_found_by_its_own_path(one: Any) -> None:
    """None is hidden by another one whose path has a parameter in the same place."""
    router = OperationRouter([*routes_for(OPERATIONS), *PUBLIC_ROUTES], lifespan=None)  # type: ignore[arg-type]
    path = one.path.replace("{id}", "x").replace("{name}", "y").replace("{address}", "z").replace("{token}", "t")
    scope = {"type": "http", "method": one.method, "path": path, "app": SimpleNamespace()}
    assert router._find(scope).path == one.path


def test_what_is_public_is_listed() -> None:
    """Whoever opens something more to everybody says so here, too."""
    open_paths = {one.path for one in OPERATIONS if one.scope is None}
    assert open_paths == {"/v1/auth/token", "/v1/unsubscribe/{token}"}
    assert {route.path for route in PUBLIC_ROUTES} == {"/livez", "/readyz", "/openapi.json", "/docs"}
    router = OperationRouter(PUBLIC_ROUTES, lifespan=None)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        router._find({"type": "http", "method": "GET", "path": "/metrics"})
