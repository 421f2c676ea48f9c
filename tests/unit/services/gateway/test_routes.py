"""The router: the same answers as Starlette's would give, found by looking at few routes."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from libs.common.errors import Unavailable
from services.gateway.http.client_address import ClientAddresses
from services.gateway.http.public_url import PublicUrls
from services.gateway.limits.decisions import Decision
from services.gateway.limits.policies import DEFAULTS, Charges, Per
from services.gateway.problems import HeadTooLarge, IdempotencyMismatch, NotFound
from services.gateway.router import MethodDispatch, OperationRouter, routes_for
from services.gateway.routes import OPERATIONS, PUBLIC_OPERATIONS

PUBLIC_ROUTES = routes_for(PUBLIC_OPERATIONS)


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


class Till:
    """Admits everything, and remembers what it was charged with."""

    def __init__(self) -> None:
        self.charged: list[tuple[str, ...]] = []

    async def take(self, charges: Charges) -> Decision:
        self.charged.append(charges.name)
        return Decision(admitted=True)


async def asked(
    app: Any, method: str, path: str, limiter: Till | None = None, **more: Any
) -> tuple[int, str, dict[str, str]]:
    """Status, body and header fields."""
    limiter = limiter or Till()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    addresses = ClientAddresses([])
    state = SimpleNamespace(
        policies=DEFAULTS, client_addresses=addresses, public_urls=PublicUrls(None, addresses), limiter=limiter
    )
    target, _, query = path.partition("?")
    scope = {
        "type": "http", "method": method, "path": unquote(target), "query_string": query.encode(), "headers": [],
        "client": ("192.0.2.1", 1), "app": SimpleNamespace(state=state), **more,
        "argosy.traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-00",
    }  # fmt: skip
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


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (b"/v1/jobs/a%2Fb", 200, "GET {'id': 'a/b'}"),
        (b"/v1/jobs/7/artifacts/a%2fb%20c.txt", 200, "GET {'id': '7', 'name': 'a/b c.txt'}"),
        (b"/v1/jobs/7%2Fartifacts%2Fa.txt", 200, "GET {'id': '7/artifacts/a.txt'}"),
        (b"/v1/jobs%2F7", 404, None),
        (b"%2Fv1%2Fjobs", 404, None),
        (b"/v1/jobs/a%252Fb", 200, "GET {'id': 'a%2Fb'}"),
    ],
)
async def test_an_encoded_slash_ends_no_part_of_a_path(sent: bytes, status: int, body: str | None) -> None:
    router = OperationRouter(ROUTES, lifespan=None)  # type: ignore[arg-type]
    answered, said, _ = await asked(router, "GET", sent.decode(), raw_path=sent)
    assert answered == status
    assert body is None or said == body


async def test_what_is_foreseen_is_a_problem_and_tells_no_secret() -> None:
    status, said, _ = await asked(OperationRouter(ROUTES, lifespan=None), "GET", "/v1/away")  # type: ignore[arg-type]
    assert status == 503
    assert "secret" not in said


ADDRESS = "argosy:limit:ip:buckets-3750000:192.0.2.1"


@pytest.mark.parametrize("path", ["/nowhere", "/v1/jobs/%00", "/v1/jobs?x=%00", "/v1/x"])
async def test_what_leads_nowhere_is_charged_to_its_address(path: str) -> None:
    router, till = OperationRouter([*ROUTES, Route("/v1/x", dispatching("PUT"))], lifespan=None), Till()  # type: ignore[arg-type]
    status, _, _ = await asked(router, "GET", path, till)
    assert status in (400, 404, 405)
    assert [ADDRESS in names for names in till.charged] == [True]


async def test_what_could_not_be_read_is_charged_too_and_is_the_problem_it_has() -> None:
    router, till = OperationRouter(ROUTES, lifespan=None), Till()  # type: ignore[arg-type]
    refused = {"argosy.refusal": HeadTooLarge()}
    assert (await asked(router, "-", "/v1/jobs", till, **refused))[0] == 431
    assert [ADDRESS in names for names in till.charged] == [True]


def test_what_is_open_is_counted_by_address_alone() -> None:
    """A key's limits would be those of nobody, for all together."""
    dispatches: list[Any] = [route.endpoint for route in PUBLIC_ROUTES]
    admissions = [admission for dispatch in dispatches for admission in dispatch._admissions.values()]
    public = [one for one in OPERATIONS if one.scope is None] + [admission.operation for admission in admissions]
    assert len(public) == 9
    for one in public:
        assert {DEFAULTS[name].per for name in one.limits} <= {Per.IP, Per.ALL}, one.path
        assert Per.IP in {DEFAULTS[name].per for name in one.limits}, one.path


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
    path = path.replace("{subject}", "team/7")
    scope = {"type": "http", "method": one.method, "path": path, "app": SimpleNamespace()}
    assert router._find(scope).path == one.path


REPEATED_ANYWAY = {
    "submit_events": "an event has an id of its own",
    "create_link": "a link is kept nowhere",
    "cancel_jobs": "what is cancelled stays so",
    "cancel_job": "likewise",
    "retry_job": "what waits is not retried once more",
}
"""Operations that make nothing, or nothing more when they come again, and why."""


def test_every_post_that_makes_something_is_carried_out_once() -> None:
    making = {
        one.endpoint.__name__: one for one in OPERATIONS if one.method == "POST" and {201, 202} & set(one.answers)
    }
    assert set(making) >= REPEATED_ANYWAY.keys()
    for name, one in making.items():
        assert ("Idempotency-Key" in one.headers) != (name in REPEATED_ANYWAY), name
        assert (IdempotencyMismatch in one.problems) == ("Idempotency-Key" in one.headers), name


UNPAGED = {"list_datasets", "list_queues"}
"""Lists that are as long as the code makes them."""


def test_every_list_has_pages_of_one_style() -> None:
    lists = [
        one for one in OPERATIONS if one.method == "GET" and "limit" in getattr(one.query, "model_fields", ())
    ]
    listing = {one.endpoint.__name__ for one in OPERATIONS if one.endpoint.__name__.startswith("list_")}
    assert listing - UNPAGED <= {one.endpoint.__name__ for one in lists}
    for one in lists:
        assert one.query is not None
        assert {"cursor", "limit"} <= one.query.model_fields.keys(), one.path
        assert not {"after", "page", "offset"} & one.query.model_fields.keys(), one.path
        assert "next_cursor" in one.answers[200].document.__annotations__, one.path


def test_what_is_public_is_listed() -> None:
    """Whoever opens something more to everybody says so here, too."""
    open_paths = {one.path for one in OPERATIONS if one.scope is None}
    assert open_paths == {"/v1/auth/token", "/v1/download/{token}", "/v1/unsubscribe/{token}"}
    assert {route.path for route in PUBLIC_ROUTES} == {"/", "/livez", "/readyz", "/openapi.json", "/docs"}
    router = OperationRouter(PUBLIC_ROUTES, lifespan=None)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        router._find({"type": "http", "method": "GET", "path": "/metrics"})
