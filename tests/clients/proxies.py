"""What callers get through each proxy that docs/operate.md configures, as a table: `make proxies-check`.

The cases that take long are here; tests/integration/services/gateway/http/test_public_url.py has the others. The
table stands in docs/operate.md, and it is an error if the document has another.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from services.gateway.limits.policies import DEFAULTS
from tests.clients.wire import wire
from tests.e2e.fleet import ROOT, Fleet
from tests.integration.services.gateway.http.test_public_url import LANGUAGES, PREFIX, fronting

LIMITS = ", ".join(f"{name}=off" for name in DEFAULTS if name != "search") + ", search=1/3s"
UPLOAD, TOO_LARGE = 150_000_000, 220_000_000
"""Bytes: what is taken, and more than GATEWAY_MAX_UPLOAD_BYTES."""
SILENT_S, WAIT_S = 85.0, 45
WIRE_S = 0.005
"""From proxy to gateway, and back."""
IDLE_S = (4.9, 5.0, 59.9, 60.0, 60.1, 75.0)
"""Pauses before a POST on the same connection: when a gateway or a proxy of ours, or of others, closes one."""

Client = httpx.AsyncClient
Case = Callable[[Client], Awaitable[bool]]


async def letter(client: Client) -> str:
    """The path of a job that waits for an hour."""
    due = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    recipients = [{"to": "ada@example.com"}]
    body = {"from": "a@example.com", "subject": "Ahoy", "text": "Ahoy", "recipients": recipients, "run_at": due}
    answer = await client.post("/v1/mail", json=body)
    assert answer.status_code == 202, answer.text
    return f"/v1/jobs/{answer.json()['id']}"


def large(size: int) -> dict[str, Any]:
    """An upload of so many bytes."""
    return {"files": {"file": ("large.pdf", b"%PDF-1.7\n" + bytes(size))}}


async def upload(client: Client) -> bool:
    """150 MB with a length, and the same in chunks."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.pdf"\r\n\r\n%PDF-1.7\n'

    async def chunks() -> Any:
        yield head
        for _ in range(UPLOAD // 1_000_000):
            yield bytes(1_000_000)
        yield b"\r\n--b--\r\n"

    fields = {"Content-Type": "multipart/form-data; boundary=b"}
    chunked = await client.post("/v1/ocr", content=chunks(), headers=fields)
    return (await client.post("/v1/ocr", **large(UPLOAD))).status_code == chunked.status_code == 202


async def refused(client: Client) -> bool:
    """In the middle of an upload over HTTP/2, with a problem that is ours."""
    return [
        await uploaded_by_curl(client, UPLOAD, "Bearer nobody"),
        await uploaded_by_curl(client, TOO_LARGE, client.headers["Authorization"]),
    ] == ["2 401 application/problem+json", "2 413 application/problem+json"]


async def uploaded_by_curl(client: Client, size: int, authorization: str) -> str:
    """Version, status and media type of the answer."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"%PDF-1.7\n")
        file.truncate(size)
        process = await asyncio.create_subprocess_exec(
            "curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{content_type}",
            "-H", f"Authorization: {authorization}", "-F", f"file=@{file.name}", f"{client.base_url}v1/ocr",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told, _ = await process.communicate()
    return told.decode()


async def silent(client: Client) -> bool:
    """A stream on which nothing happens stays open, and what is sent to keep it so arrives at once."""
    begun, heard = asyncio.get_running_loop().time(), 0
    async with client.stream("GET", f"{await letter(client)}/events") as answer:
        async for line in answer.aiter_lines():
            heard += line == ": still here"
            if asyncio.get_running_loop().time() - begun > SILENT_S:
                return heard >= 5
    return False


async def waiting(client: Client) -> bool:
    """The answer comes when it is due, and is ours."""
    due = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {
        "from": "a@example.com",
        "subject": "A",
        "text": "A",
        "recipients": [{"to": "b@example.com"}],
        "run_at": due,
    }
    answer = await client.post("/v1/mail", json=body, headers={"Prefer": f"wait={WAIT_S}"})
    return answer.status_code == 202 and answer.elapsed.total_seconds() > WAIT_S - 1


async def idle(client: Client) -> bool:
    """A POST after a pause, when the proxy may have kept its connection to the gateway."""
    question = {"filter": {"queue": "ocr"}, "dry_run": True}

    async def after(pause_s: float) -> int:
        await asyncio.sleep(pause_s)
        return (await client.post("/v1/jobs/cancel", json=question)).status_code

    return set(await asyncio.gather(*map(after, (0.0, *IDLE_S)))) == {200}


async def answers(client: Client) -> bool:
    """ETag, Range and 429 with its fields arrive as they were sent, and URLs lead back."""
    content = (ROOT / "examples/scan.pdf").read_bytes()
    waited = await client.post("/v1/ocr", files={"file": ("scan.pdf", content)}, headers={"Prefer": "wait=45"})
    assert waited.status_code == 200, waited.text
    url = next(one["url"] for one in waited.json()["artifacts"] if one["name"] == "text.txt")
    part = await client.get(url, headers={"Range": "bytes=0-4", "Accept-Encoding": "gzip"})
    unchanged = await client.get(url, headers={"If-None-Match": part.headers["etag"]})
    while (limited := await client.get("/v1/jobs")).status_code == 200:
        pass
    told = {"retry-after", "ratelimit", "ratelimit-policy"} <= {*limited.headers}
    return (part.status_code, unchanged.status_code, limited.status_code, told) == (206, 304, 429, True)


CASES: dict[str, Case] = {
    "150 MB": upload,
    "early 401, 413": refused,
    "silent for 85 s": silent,
    "`Prefer: wait=45`": waiting,
    "pauses": idle,
    "prefix, ETag, Range, 429": answers,
}


async def tried(case: Case, client: Client, alone: asyncio.Semaphore) -> str:
    """Whether it is as it must be, or why not. Uploads are made one at a time."""
    try:
        if case in (upload, refused):
            async with alone:
                return "yes" if await case(client) else "**no**"
        return "yes" if await case(client) else "**no**"
    except (AssertionError, httpx.HTTPError) as error:
        print(f"{case.__name__} at {client.base_url}: {error!r}", file=sys.stderr)
        return "**no**"


async def rows(fleet: Fleet, folder: Path) -> list[str]:
    """A row for each proxy, all at the same time."""
    alone = asyncio.Semaphore(1)

    async def row(proxy: Any, far: int) -> str:
        async with fleet.client() as direct:
            made = await direct.post("/v1/keys", json={"name": proxy.__name__, "role": "member"})
        gateway: Any = SimpleNamespace(port=far)
        async with fronting(proxy, gateway, PREFIX, folder / proxy.__name__) as client:
            client.headers["Authorization"] = f"Bearer {made.raise_for_status().json()['key']}"
            client.timeout = httpx.Timeout(120)
            cells = await asyncio.gather(*(tried(case, client, alone) for case in CASES.values()))
        return f"| {' | '.join([proxy.__name__, *cells])} |"

    with wire(fleet.port, delay_s=WIRE_S) as far:
        return list(await asyncio.gather(*(row(proxy, far) for proxy in LANGUAGES)))


def main() -> int:
    """Print the table. 1 if a cell is wrong, or the document has another table."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # Apache's children are nobody
        fleet = Fleet(Path(folder) / "run")
        fleet.command("up", LIMITS=LIMITS, TRUSTED_PROXIES="127.0.0.1")
        try:
            found = asyncio.run(rows(fleet, Path(folder)))
        finally:
            fleet.command("down")
    lines = [f"| proxy | {' | '.join(CASES)} |", "|---" * (len(CASES) + 1) + "|", *found]
    print("\n".join(lines))
    is_documented = "\n".join(lines) in (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    if not is_documented:
        print("docs/operate.md has another table.", file=sys.stderr)
    return 0 if is_documented and "**no**" not in "".join(found) else 1


if __name__ == "__main__":
    sys.exit(main())
