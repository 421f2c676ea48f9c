"""Calls to the gateway of the fleet on this machine, with the key that `make up` made."""

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from deploy.local.errors import CannotRun
from deploy.local.settings import gateway_url
from deploy.local.state import State

JSON = "application/json"


class Refused(CannotRun):
    """The gateway has answered with a problem."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        errors = [f"{error['field']}: {error['message']}" for error in problem.get("errors", ())]
        super().__init__("\n".join([problem["detail"], *errors]))
        self.status = status


def asked(
    fleet: State, path: str, body: object = None, *, method: str | None = None, wait_s: int = 0
) -> dict[str, Any]:
    """The answer, of JSON. `wait_s`: how long a submission may wait for its job. Raises Refused, CannotRun."""
    content = None if body is None else json.dumps(body).encode()
    with opened(
        fleet, path, content, method=method, headers={"Prefer": f"wait={wait_s}"} if wait_s else {}
    ) as answer:
        document: dict[str, Any] = json.loads(answer.read() or b"{}")
        return document


def opened(
    fleet: State,
    path: str,
    content: bytes | None = None,
    media_type: str = JSON,
    *,
    method: str | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    """The answer as a file. Raises Refused, CannotRun."""
    ours = {"Authorization": f"Bearer {fleet.key}", "Content-Type": media_type, **(headers or {})}
    request = Request(gateway_url(fleet) + path, content, ours, method=method)  # noqa: S310 - our own gateway
    try:
        return urlopen(request)  # noqa: S310
    except HTTPError as refused:
        raise Refused(refused.code, json.loads(refused.read())) from refused
    except (OSError, HTTPException) as error:
        raise CannotRun("The gateway does not answer: `make up` first.") from error
