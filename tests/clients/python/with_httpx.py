"""The cases of table.py with httpx: one array of facts for each, as JSON."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

KEY, SCAN, LARGE = (os.environ[name] for name in ("ARGOSY_KEY", "SCAN", "LARGE"))
NAME = "Schein für März.pdf"
QUESTION = {"filter": {"queue": "ocr"}, "dry_run": True}


def submitted(client: httpx.Client, path: str = SCAN, **headers: str) -> httpx.Response:
    with Path(path).open("rb") as file:
        return client.post("/v1/ocr", files={"file": (NAME, file)}, headers=headers)


def ended(client: httpx.Client, location: str) -> Any:
    while not (job := client.get(location).json())["finished_at"]:
        time.sleep(0.2)
    return job


def body() -> Iterator[bytes]:
    """A body of unknown length."""
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="scan.pdf"\r\n\r\n'
    yield Path(SCAN).read_bytes()
    yield b"\r\n--b--\r\n"


def events(client: httpx.Client, job: str, last: str = "") -> Iterator[dict[str, str]]:
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as answer:
        event = {"status": str(answer.status_code)}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            event[name] = value
            if not line and "id" in event:
                yield event
                event = {}
        if event:
            yield event


def followed(client: httpx.Client) -> list[object]:
    job = submitted(client).json()["id"]
    first = next(events(client, job))
    seen = [event for event in events(client, job, first["id"]) if "id" in event]
    (end,) = events(client, job, seen[-1]["id"])
    return [
        first["data"] in [event["data"] for event in seen],
        json.loads(seen[-1]["data"])["state"],
        int(end["status"]),
    ]


def limited(client: httpx.Client) -> list[object]:
    while (answer := client.get("/v1/jobs")).status_code == 200:
        pass
    time.sleep(int(answer.headers["Retry-After"]))
    return [answer.status_code, client.get("/v1/jobs").status_code]


def idle(client: httpx.Client) -> list[object]:
    before = client.get("/v1/limits").status_code
    time.sleep(7)
    return [before, client.post("/v1/jobs/cancel", json=QUESTION).status_code]


def main() -> None:
    bearer = {"Authorization": f"Bearer {KEY}"}
    nobody = {"Authorization": "Bearer nobody"}
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    # Its default timeout is 5 s, less than an answer with `Prefer: wait` takes; it keeps idle connections for 5 s.
    limits = httpx.Limits(keepalive_expiry=60)
    with httpx.Client(base_url=os.environ["ARGOSY_URL"], headers=bearer, timeout=60, limits=limits) as client:
        job = ended(client, submitted(client).headers["Location"])
        (file,) = (artifact for artifact in job["artifacts"] if artifact["name"] == "document.pdf")
        waited = submitted(client, Prefer="wait=45")
        part = client.get(file["url"], headers={"Range": "bytes=0-4"})
        unchanged = client.get(file["url"], headers={"If-None-Match": part.headers["ETag"]})
        whole = client.get(file["url"]).content[:4].decode()
        facts = {
            "upload": [job["state"], file["filename"]],
            "wait": [waited.status_code, waited.json()["state"]],
            "chunked": [client.post("/v1/ocr", content=body(), headers=multipart).status_code],
            "refused": [submitted(client, LARGE, **nobody).status_code, submitted(client, LARGE).status_code],
            "limited": limited(client),
            "events": followed(client),
            "download": [part.status_code, part.text, whole, unchanged.status_code],
            "idle": idle(client),
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
