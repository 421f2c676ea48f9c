"""Who may call from a page of another origin: named origins everything, all others what takes public keys."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from services.gateway.http.client_address import ClientAddresses
from services.gateway.http.cors import EXPOSED, Cors
from services.gateway.http.public_url import PublicUrls
from services.gateway.limits.decisions import Decision, refused
from services.gateway.limits.policies import DEFAULTS, Charges

KNOWN, OTHER = "https://app.example.com", "https://shop.example.net"
ORIGIN = "access-control-allow-origin"


class Gateway:
    """Answers 200, as to a caller with a public key or with another; counts what it is charged with."""

    def __init__(self, *origins: str, public: bool = False, admits: bool = True) -> None:
        self.charged: list[tuple[str, ...]] = []
        self.reached = 0
        self._public = public
        self._admits = admits
        self._cors = Cors(self._answer, origins=origins, public_paths={"/v1/events"})

    async def take(self, charges: Charges) -> Decision:
        self.charged.append(tuple(charge.policy.name for charge in charges))
        return Decision(True) if self._admits else refused(charges, [(1, 9)])

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached += 1
        scope["argosy.caller"] = SimpleNamespace(is_public=self._public)
        await PlainTextResponse("here")(scope, receive, send)

    async def asked(self, method: str, path: str, **headers: str) -> tuple[int, dict[str, str]]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        addresses = ClientAddresses([])
        state = SimpleNamespace(
            policies=DEFAULTS, client_addresses=addresses, public_urls=PublicUrls(None, addresses), limiter=self
        )
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope: dict[str, Any] = {
            "type": "http", "method": method, "path": path, "headers": raw, "client": ("192.0.2.1", 1),
            "app": SimpleNamespace(state=state), "argosy.traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-00",
        }  # fmt: skip
        await self._cors(scope, receive, send)
        names = [name.decode() for name, _ in sent[0]["headers"]]
        assert len(set(names)) == len(names), "a browser refuses a field that comes twice"
        return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}

    async def preflight(self, path: str, origin: str, *, method: str = "POST") -> tuple[int, dict[str, str]]:
        asks = {"access_control_request_method": method, "access_control_request_headers": "authorization"}
        return await self.asked("OPTIONS", path, origin=origin, **asks)


async def test_a_page_may_ask_for_what_takes_public_keys_and_for_nothing_else() -> None:
    gateway = Gateway()
    status, headers = await gateway.preflight("/v1/events", OTHER)
    assert (status, headers[ORIGIN], gateway.reached) == (200, "*", 0)
    assert "Authorization" in headers["access-control-allow-headers"]
    assert gateway.charged == [("global", "ip")], "without a key the address pays"
    _, headers = await gateway.preflight("/v1/jobs", OTHER)
    assert ORIGIN not in headers


async def test_a_page_that_asks_too_often_is_refused() -> None:
    status, headers = await Gateway(admits=False).preflight("/v1/events", OTHER)
    assert status == 429
    assert ORIGIN not in headers


@pytest.mark.parametrize(
    ("public", "path", "origin", "allowed"),
    [
        (True, "/v1/events", OTHER, "*"),
        (True, "/v1/events", KNOWN, KNOWN),
        (False, "/v1/events", OTHER, None),
        (False, "/v1/events", KNOWN, KNOWN),
        (True, "/v1/jobs", OTHER, None),
        (False, "/v1/jobs", KNOWN, KNOWN),
    ],
)
async def test_the_key_decides_who_may_read_the_answer(
    public: bool, path: str, origin: str, allowed: str | None
) -> None:
    gateway = Gateway(KNOWN, public=public)
    status, headers = await gateway.asked("POST", path, origin=origin)
    assert (status, headers.get(ORIGIN), gateway.reached) == (200, allowed, 1)
    if allowed:
        assert headers["access-control-expose-headers"] == ", ".join(EXPOSED)


async def test_named_origins_may_call_everything() -> None:
    for path in ("/v1/jobs", "/v1/events"):
        status, headers = await Gateway(KNOWN).preflight(path, KNOWN)
        assert status == 200
        assert headers[ORIGIN] in (KNOWN, "*")


async def test_what_is_no_preflight_reaches_the_application() -> None:
    gateway = Gateway()
    await gateway.asked("OPTIONS", "/v1/events", origin=OTHER)
    assert (gateway.reached, gateway.charged) == (1, [])
