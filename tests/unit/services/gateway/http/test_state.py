"""What every request can reach."""

from types import SimpleNamespace

from starlette.applications import Starlette
from starlette.requests import Request

from services.gateway.http.state import GatewayState, state_of


def test_a_request_and_its_scope_lead_to_the_same_state() -> None:
    app = Starlette()
    app.state = GatewayState()
    scope = {"type": "http", "app": app, "headers": []}
    assert state_of(scope) is state_of(Request(scope)) is app.state


def test_two_applications_share_nothing() -> None:
    first, second = GatewayState(), GatewayState()
    first.docs = b"one"
    assert not hasattr(second, "docs")
    assert state_of({"app": SimpleNamespace(state=first)}).docs == b"one"
