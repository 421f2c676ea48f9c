"""The layers around the application, and its way to stop."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.app import Gateway, create_app, drain
from services.gateway.config import Settings
from services.gateway.http.cors import Cors
from services.gateway.http.early_answers import EarlyAnswers
from services.gateway.http.request_log import RequestLog

NEEDED = {"database_url": "postgresql://h/d", "nats_url": "nats://h", "blob_url": "file:///blobs"}


class Layer:
    """Notes that a request has passed."""

    def __init__(self, app: ASGIApp, name: str, passed: list[str]) -> None:
        self._app, self._name, self._passed = app, name, passed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._passed.append(self._name)
        await self._app(scope, receive, send)


async def test_the_first_layer_is_the_outermost_and_there_is_no_other() -> None:
    passed: list[str] = []

    async def endpoint(_request: Any) -> PlainTextResponse:
        raise ZeroDivisionError

    app = Gateway(middleware=[Middleware(Layer, name=name, passed=passed) for name in ("outer", "inner")])
    app.router = Router([Route("/", endpoint)])
    with pytest.raises(ZeroDivisionError):  # Starlette's own layer would have answered
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            await client.get("/")
    assert passed == ["outer", "inner"]


@pytest.mark.parametrize(("origins", "known"), [("", []), ("https://a.test, https://b.test", ["a", "b"])])
def test_pages_of_other_origins_are_let_in_if_named_or_with_public_keys(origins: str, known: list[str]) -> None:
    app = create_app(Settings.model_validate(NEEDED | {"cors_origins": origins}))
    layers: list[Any] = [layer.cls for layer in app.user_middleware]
    assert layers == [EarlyAnswers, RequestLog, Cors]
    assert app.user_middleware[-1].kwargs == {
        "origins": [f"https://{name}.test" for name in known],
        "public_paths": {"/v1/events"},
    }


async def test_an_application_that_stops_says_so_and_wakes_who_follows() -> None:
    class Updates:
        """Counts how often it is told."""

        woken = 0

        def wake_all(self) -> None:
            self.woken += 1

    app = create_app(Settings.model_validate(NEEDED))
    app.state.draining, app.state.job_updates = asyncio.Event(), Updates()
    drain(app)
    assert app.state.draining.is_set()
    assert app.state.job_updates.woken == 1
