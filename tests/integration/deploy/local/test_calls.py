"""What the gateway answers comes back, and what it refuses is told in its words."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploy.local.calls import Refused, asked, opened
from deploy.local.errors import CannotRun
from deploy.local.state import State
from deploy.local.test_servers import free_port

PROBLEM = {"detail": "Your request has mistakes.", "errors": [{"field": "format", "message": "no such format"}]}


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; with 422 under /refused, with nothing under /gone."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        told = {"method": self.command, "path": self.path, "body": body, "key": self.headers["Authorization"]}
        told |= {"type": self.headers["Content-Type"], "prefer": self.headers["Prefer"]}
        refused, gone = self.path == "/refused", self.path == "/gone"
        self.send_response(422 if refused else 204 if gone else 200)
        self.end_headers()
        self.wfile.write(b"" if gone else json.dumps(PROBLEM if refused else told).encode())

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def state_of(port: int) -> State:
    return State("", 1, 2, 3, 4, key="argosy_dev_1", gateway_port=port)


@pytest.fixture
def fleet() -> Iterator[State]:
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state_of(server.server_port)
        server.shutdown()


def test_what_is_sent_and_what_comes_back(fleet: State) -> None:
    told = asked(fleet, "/v1/exports", {"format": "csv"}, wait_s=20)
    assert told == {
        "method": "POST", "path": "/v1/exports", "body": '{"format": "csv"}', "key": "Bearer argosy_dev_1",
        "type": "application/json", "prefer": "wait=20",
    }  # fmt: skip
    assert asked(fleet, "/v1/jobs")["method"] == "GET"
    assert asked(fleet, "/gone", method="DELETE") == {}
    with opened(fleet, "/v1/ocr", b"%PDF", "application/pdf") as answer:
        assert json.load(answer)["type"] == "application/pdf"


def test_a_refusal_is_told_with_each_mistake(fleet: State) -> None:
    with pytest.raises(Refused, match="mistakes") as refusal:
        asked(fleet, "/refused")
    assert str(refusal.value) == "Your request has mistakes.\nformat: no such format"
    assert refusal.value.status == 422


def test_a_gateway_that_is_away_is_told() -> None:
    with pytest.raises(CannotRun, match="make up"):
        asked(state_of(free_port()), "/v1/jobs")
