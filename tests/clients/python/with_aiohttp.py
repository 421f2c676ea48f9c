"""The cases of table.py with aiohttp: one array of facts for each, as JSON."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

URL, KEY, SCAN, LARGE = (os.environ[name] for name in ("ARGOSY_URL", "ARGOSY_KEY", "SCAN", "LARGE"))
NAME = "Schein für März.pdf"
QUESTION = {"filter": {"queue": "ocr"}, "dry_run": True}


async def submitted(session: aiohttp.ClientSession, path: str = SCAN, **headers: str) -> aiohttp.ClientResponse:
    form = aiohttp.FormData()
    with Path(path).open("rb") as file:
        form.add_field("file", file, filename=NAME)
        async with session.post("/v1/ocr", data=form, headers=headers) as answer:
            await answer.read()
            return answer


async def status(session: aiohttp.ClientSession, path: str, **headers: str) -> int:
    async with session.get(path, headers=headers) as answer:
        return answer.status


async def ended(session: aiohttp.ClientSession, location: str) -> Any:
    while True:
        async with session.get(location) as answer:
            job = await answer.json()
        if job["finished_at"]:
            return job
        await asyncio.sleep(0.2)


async def body() -> AsyncIterator[bytes]:
    """A body of unknown length."""
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="scan.pdf"\r\n\r\n'
    yield Path(SCAN).read_bytes()
    yield b"\r\n--b--\r\n"


async def events(session: aiohttp.ClientSession, job: str, last: str, most: int) -> list[dict[str, str]]:
    headers = {"Last-Event-ID": last} if last else {}
    seen: list[dict[str, str]] = []
    async with session.get(f"/v1/jobs/{job}/events", headers=headers) as answer:
        event = {"status": str(answer.status)}
        async for line in answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            event[name] = value
            if not name and "id" in event:
                seen.append(event)
                event = {}
                if len(seen) == most:
                    return seen
    return seen or [event]


async def followed(session: aiohttp.ClientSession) -> list[object]:
    job = (await (await submitted(session)).json())["id"]
    (first,) = await events(session, job, "", 1)
    seen = await events(session, job, first["id"], 1000)
    (end,) = await events(session, job, seen[-1]["id"], 1)
    return [
        first["data"] in [event["data"] for event in seen],
        json.loads(seen[-1]["data"])["state"],
        int(end["status"]),
    ]


async def limited(session: aiohttp.ClientSession) -> list[object]:
    while True:
        async with session.get("/v1/jobs") as answer:
            if answer.status != 200:
                break
    await asyncio.sleep(int(answer.headers["Retry-After"]))
    return [answer.status, await status(session, "/v1/jobs")]


async def idle(session: aiohttp.ClientSession) -> list[object]:
    before = await status(session, "/v1/limits")
    await asyncio.sleep(7)
    async with session.post("/v1/jobs/cancel", json=QUESTION) as answer:
        return [before, answer.status]


async def main() -> None:
    nobody = {"Authorization": "Bearer nobody"}
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    bearer = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(URL, headers=bearer) as session:
        job = await ended(session, (await submitted(session)).headers["Location"])
        (file,) = (artifact for artifact in job["artifacts"] if artifact["name"] == "document.pdf")
        waited = await submitted(session, Prefer="wait=45")
        async with session.get(file["url"], headers={"Range": "bytes=0-4"}) as part:
            begins = await part.text()
        async with session.get(file["url"]) as answer:
            whole = (await answer.read())[:4].decode()
        async with session.post("/v1/ocr", data=body(), headers=multipart) as answer:
            chunked = answer.status
        unchanged = await status(session, file["url"], **{"If-None-Match": part.headers["ETag"]})
        facts = {
            "upload": [job["state"], file["filename"]],
            "wait": [waited.status, (await waited.json())["state"]],
            "chunked": [chunked],
            "refused": [
                (await submitted(session, LARGE, **nobody)).status,
                (await submitted(session, LARGE)).status,
            ],
            "limited": await limited(session),
            "events": await followed(session),
            "download": [part.status, begins, whole, unchanged],
            "idle": await idle(session),
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    asyncio.run(main())
