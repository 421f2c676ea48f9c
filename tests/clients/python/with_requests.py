"""The cases of table.py with requests: one array of facts for each, as JSON."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter

URL, KEY, SCAN, LARGE = (os.environ[name] for name in ("ARGOSY_URL", "ARGOSY_KEY", "SCAN", "LARGE"))
NAME = "Schein für März.pdf"
QUESTION: Any = {"filter": {"queue": "ocr"}, "dry_run": True}


def submitted(session: requests.Session, path: str = SCAN, **headers: str) -> requests.Response:
    with open(path, "rb") as file:
        return session.post(f"{URL}/v1/ocr", files={"file": (NAME, file)}, headers=headers)


def ended(session: requests.Session, location: str) -> Any:
    while not (job := session.get(urljoin(URL, location)).json())["finished_at"]:
        time.sleep(0.2)
    return job


def body() -> Iterator[bytes]:
    """A body of unknown length."""
    with open(SCAN, "rb") as file:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="scan.pdf"\r\n\r\n'
        yield from file
        yield b"\r\n--b--\r\n"


def events(session: requests.Session, job: str, last: str = "") -> Iterator[dict[str, str]]:
    headers = {"Last-Event-ID": last} if last else {}
    with session.get(f"{URL}/v1/jobs/{job}/events", headers=headers, stream=True) as answer:
        event: dict[str, str] = {"status": str(answer.status_code)}
        for line in answer.iter_lines():
            name, _, value = line.decode().partition(": ")
            event[name] = value
            if not line and "id" in event:
                yield event
                event = {}
        if event:
            yield event


def followed(session: requests.Session) -> list[object]:
    job = submitted(session).json()["id"]
    first = next(events(session, job))
    seen = [event for event in events(session, job, first["id"]) if "id" in event]
    (end,) = events(session, job, seen[-1]["id"])
    return [
        first["data"] in [event["data"] for event in seen],
        json.loads(seen[-1]["data"])["state"],
        int(end["status"]),
    ]


def limited(session: requests.Session) -> list[object]:
    while (answer := session.get(f"{URL}/v1/jobs")).status_code == 200:
        pass
    time.sleep(int(answer.headers["Retry-After"]))
    return [answer.status_code, session.get(f"{URL}/v1/jobs").status_code]


def idle(session: requests.Session) -> list[object]:
    before = session.get(f"{URL}/v1/limits").status_code
    time.sleep(7)
    return [before, session.post(f"{URL}/v1/jobs/cancel", json=QUESTION).status_code]


def main() -> None:
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=0))
    session.headers["Authorization"] = f"Bearer {KEY}"
    nobody = {"Authorization": "Bearer nobody"}
    job = ended(session, submitted(session).headers["Location"])
    (file,) = (artifact for artifact in job["artifacts"] if artifact["name"] == "document.pdf")
    url = urljoin(URL, file["url"])
    waited = submitted(session, Prefer="wait=45")
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    part = session.get(url, headers={"Range": "bytes=0-4"})
    unchanged = session.get(url, headers={"If-None-Match": part.headers["ETag"]})
    facts = {
        "upload": [job["state"], file["filename"]],
        "wait": [waited.status_code, waited.json()["state"]],
        "chunked": [session.post(f"{URL}/v1/ocr", data=body(), headers=multipart).status_code],
        "refused": [submitted(session, LARGE, **nobody).status_code, submitted(session, LARGE).status_code],
        "limited": limited(session),
        "events": followed(session),
        "download": [part.status_code, part.text, session.get(url).content[:4].decode(), unchanged.status_code],
        "idle": idle(session),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
