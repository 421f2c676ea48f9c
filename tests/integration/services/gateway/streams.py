"""Workers that wait for the word, and Server-Sent Events as they come."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from libs.common.contracts.ocr import OcrPayload
from libs.common.errors import Reject, StorageUnavailable
from libs.common.worker.job import Done, Job
from libs.common.worker.worker import Worker
from tests.integration.services.gateway.gateway import Gateway
from tests.polling import until


@asynccontextmanager
async def working(gateway: Gateway, gate: asyncio.Event) -> AsyncIterator[None]:
    """A worker whose jobs report, wait for `gate`, and fail if their file is named bad, or wait if away."""

    async def handle(job: Job[OcrPayload], _deps: None) -> Done:
        job.progress(1, 2, "half")
        await gate.wait()
        if job.payload.filename == "bad.png":
            raise Reject("No good.")
        if job.payload.filename == "away.png":
            raise StorageUnavailable
        return Done({"pages": 1})

    state = gateway.app.state
    stop = asyncio.Event()
    worker: Worker[OcrPayload, None] = Worker(
        "ocr", OcrPayload, handle, None, database=state.database, bus=state.bus, slots=2, grace_s=1
    )

    async def work() -> None:
        async with worker.lease.kept():
            await worker.run(stop)

    running = asyncio.create_task(work())
    try:
        yield
    finally:
        gate.set()
        stop.set()
        await running


class Stream:
    """Server-Sent Events as they come, read from the application itself: httpx's transport waits for the end."""

    def __init__(self, gateway: Gateway, client: httpx.AsyncClient, path: str, *, last_id: str = "") -> None:
        self.events: list[tuple[str, Any]] = []
        self.ids: list[str] = []
        self.begun = asyncio.Event()
        self.status = 0
        self.ended = asyncio.Event()
        headers = [(b"host", b"gateway"), (b"authorization", client.headers["authorization"].encode())]
        headers += [(b"last-event-id", last_id.encode())] if last_id else []
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode()}
        scope |= {"query_string": b"", "headers": headers, "server": ("gateway", 80), "client": ("c", 1)}
        self.task = asyncio.create_task(self._run(gateway.app, scope))

    async def _run(self, app: Any, scope: dict[str, Any]) -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        async def send(message: dict[str, Any]) -> None:
            self.status = message.get("status", self.status)
            for block in message.get("body", b"").decode().split("\n\n"):
                fields = dict(line.partition(": ")[::2] for line in block.splitlines())
                if "event" in fields:
                    self.events.append((fields["event"], json.loads(fields["data"])))
                    self.ids.append(fields["id"])
                elif "retry" in fields:
                    self.begun.set()

        await app(scope, receive, send)
        self.ended.set()

    async def has(self, name: str, **members: Any) -> None:
        async def seen() -> bool:
            return any(kind == name and members.items() <= data.items() for kind, data in self.events)

        await until(seen)


async def becomes(client: httpx.AsyncClient, path: str, state: str) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        job: dict[str, Any] = (await client.get(path)).json()
        return job if job["state"] == state else None

    job = await until(found)
    assert job is not None
    return job
