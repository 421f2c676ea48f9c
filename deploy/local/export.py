"""`make export DATASET=jobs FORMAT=csv`: writes a dataset of the tenant `dev` to a file here."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from deploy.local import state
from deploy.local.errors import CannotRun
from deploy.local.settings import gateway_url
from deploy.local.state import State

CHUNK = 1024 * 1024
ASKED_EVERY_S = 1.0


def export(dataset: str, format_: str) -> None:
    """Export, tell how far it is, and download the file. Raises CannotRun."""
    fleet = state.load()
    job = _asked(fleet, "/v1/exports", {"dataset": dataset, "format": format_})
    while not job["finished_at"]:
        print(f"{(job['progress'] or {'done': 0})['done']:,} rows …", flush=True)
        time.sleep(ASKED_EVERY_S)
        job = _asked(fleet, f"/v1/jobs/{job['id']}")
    if job["state"] != "succeeded":
        raise CannotRun(f"The export has {job['state']}: {(job['error'] or {}).get('message')}")
    file = job["artifacts"][0]
    with _opened(fleet, file["url"]) as content, Path(file["name"]).open("wb") as written:
        while chunk := content.read(CHUNK):
            written.write(chunk)
    print(
        f"{file['name']}: {job['result']['rows']:,} rows, {file['size']:,} bytes, as of {job['result']['as_of']}"
    )


def _asked(fleet: State, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    with _opened(fleet, path, body) as answer:
        document: dict[str, Any] = json.load(answer)
        return document


def _opened(fleet: State, path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer of the gateway. Raises CannotRun."""
    request = Request(  # noqa: S310 - our own gateway
        gateway_url(fleet) + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {fleet.key}", "Content-Type": "application/json"},
    )
    try:
        return urlopen(request)  # noqa: S310
    except HTTPError as refused:
        problem = json.loads(refused.read())
        raise CannotRun("\n".join([problem["detail"], *_messages(problem)])) from refused
    except URLError as error:
        raise CannotRun("The gateway does not answer: `make up` first.") from error


def _messages(problem: dict[str, Any]) -> list[str]:
    return [f"{error['field']}: {error['message']}" for error in problem.get("errors", ())]
