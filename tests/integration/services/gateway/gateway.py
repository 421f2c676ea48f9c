"""A gateway in the test's process, and what tests say to it."""

import json
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from libs.common.db import Database
from services.gateway.engine.retention import Retention
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import OPERATOR, ROLES, Role
from tests import answered_times

PNG = b"\x89PNG\r\n\x1a\n" + bytes(5000)
LIMIT = 20
"""Documents an hour and key."""


class Gateway:
    """A gateway in this process, and keys to it."""

    def __init__(self, app: Starlette, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.app = app

    @property
    def retention(self) -> Retention:
        """One more, that a test can send round."""
        state = self.app.state
        return Retention(state.database, state.blobs, state.settings)

    async def client(
        self, tenant: str = "dev", role: Role = Role.MEMBER, *, operator: bool = False
    ) -> httpx.AsyncClient:
        scopes = ROLES[role] | OPERATOR if operator else None
        key = (await issue(self.database, "dev", tenant, "test", role, scopes=scopes)).key
        return self.anonymous(Authorization=f"Bearer {key}")

    def anonymous(self, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        hooks = {"response": [answered_times.check]}
        return httpx.AsyncClient(
            transport=transport, base_url="http://gateway", headers=headers, event_hooks=hooks
        )

    def blobs(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


def upload(content: bytes = PNG, options: Any = None, name: str = "scan.png") -> dict[str, Any]:
    data = {} if options is None else {"options": json.dumps(options)}
    return {"files": {"file": (name, content)}, "data": data}


def assert_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == kind.replace("-", "_")
    assert problem["status"] == status
    return problem


async def submitted(client: httpx.AsyncClient, **kwargs: Any) -> str:
    answer = await client.post("/v1/ocr", **upload(**kwargs))
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])
