"""Traces of real processes: from a caller's request over the ledger to the workers; and reports of their bugs."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from deploy.local.test_servers import Trio
from libs.common.db import Database
from libs.common.worker.spans import IN_ONE_TRACE
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.live import ROOT, serving
from tests.pictures import LINES, page, scanned_pdf
from tests.polling import until
from tests.receiver import Receiver, Span, receiving, tree
from tests.relay import Relay

CALLERS_TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLERS_SPAN = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"}
PAGES = 12


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


class Place:
    """A gateway and workers that tell the receiver of themselves."""

    def __init__(self, servers: Trio, database_url: str, folder: Path, told: Mapping[str, str]) -> None:
        self.servers = servers
        self.folder = folder
        self.told = dict(told)
        self.database_url = database_url
        self.client = httpx.AsyncClient()

    @contextmanager
    def worker(self, service: str, **settings: str) -> Iterator[Path]:
        """A worker process; its log."""
        environment = os.environ | self.told | {
            "DATABASE_URL": self.database_url, "NATS_URL": self.servers.nats.url, "PROBES_PORT": "0",
            "BLOB_URL": (self.folder / "blobs").as_uri(), "SANDBOX_CONFINEMENT": "if-available",
        } | settings  # fmt: skip
        path = self.folder / f"{service}.log"
        with path.open("ab") as output:
            command = [sys.executable, "-m", f"services.{service}"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            yield path
        finally:
            process.terminate()
            process.wait()
        assert process.returncode == 0, path.read_text()[-3000:]

    async def ended(self, answer: httpx.Response) -> dict[str, Any]:
        """The job that this request submitted, when it has ended."""
        assert answer.status_code == 202, answer.text

        async def found() -> dict[str, Any] | None:
            job: dict[str, Any] = (await self.client.get(answer.headers["location"])).json()
            return job if job["finished_at"] else None

        return await until(found) or {}


@asynccontextmanager
async def place(
    servers: Trio, database_url: str, database: Database, folder: Path, **told: str
) -> AsyncIterator[Place]:
    made = Place(servers, database_url, folder, told)
    async with serving(servers, database_url, folder, number=1, wait=True, **told) as (live,):
        key = (await issue(database, "dev", "dev", "k", Role.ADMIN)).key
        async with httpx.AsyncClient(
            base_url=live.url, timeout=60, headers={"Authorization": f"Bearer {key}"}
        ) as client:
            made.client = client
            yield made


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


async def came(receiver: Receiver, name: str, number: int) -> list[Span]:
    async def all_came() -> bool:
        return len(named(receiver.spans, name)) >= number

    await until(all_came)
    return named(receiver.spans, name)


def within(span: Span, parent: Span) -> bool:
    return (span.trace_id, span.parent_id) == (parent.trace_id, parent.span_id)


def document(pages: int) -> dict[str, Any]:
    return {"files": {"file": ("scan.pdf", scanned_pdf([page(LINES[:1])] * pages))}, "headers": SAMPLED}


async def test_a_document_of_twelve_pages_is_one_trace(
    servers: Trio, database_url: str, database: Database, receiver: Receiver, tmp_path: Path
) -> None:
    told = {"TRACING_URL": receiver.url, "TRACING_SHARE": "0"}
    async with place(servers, database_url, database, tmp_path, **told) as fleet:
        with fleet.worker("ocr"):
            answer = await fleet.client.post("/v1/ocr", **document(PAGES))
            job = await fleet.ended(answer)
            assert job["traceparent"].split("-")[1] == CALLERS_TRACE
            await came(receiver, "ocr process", PAGES + 2)
        (request,) = await came(receiver, "POST submit_ocr", 1)
        (accept,) = await came(receiver, "accept", 1)
        (fan_out,) = await came(receiver, "fan out", 1)
    spans = receiver.spans
    print(tree([span for span in spans if span.trace_id == CALLERS_TRACE]))
    assert {span.trace_id for span in spans} == {CALLERS_TRACE}, "what nobody sampled has no span"
    assert request.parent_id == CALLERS_SPAN
    assert f"req_{request.span_id}" == answer.headers["x-request-id"]
    assert request.attributes.items() >= {"http.route": "submit_ocr", "http.response.status_code": 202}.items()
    assert within(accept, request)
    assert accept.attributes == {"argosy.queue": "ocr", "argosy.batch": 1}
    attempts = named(spans, "ocr process")
    whole = [span for span in attempts if within(span, request)]
    pages = [span for span in attempts if within(span, fan_out)]
    assert [span.attributes["argosy.kind"] for span in whole] == ["document"] * 2
    assert [span.attributes["argosy.kind"] for span in pages] == ["page"] * PAGES
    assert {span.attributes["argosy.job_id"] for span in whole} == {job["id"]}
    assert within(fan_out, whole[0])
    assert whole[1].attributes["argosy.outcome"] == "succeeded"
    read = named(spans, "page")
    assert sorted(span.attributes["argosy.page"] for span in read) == list(range(1, PAGES + 1))
    assert all(any(within(span, attempt) for attempt in pages) for span in read)
    assert {"finish", "blob read", "blob write"} <= {span.name for span in spans}


async def test_pages_of_a_long_document_have_traces_of_their_own(
    servers: Trio, database_url: str, database: Database, receiver: Receiver, tmp_path: Path
) -> None:
    """Each with a link to where they came from. Text layers are quick to read."""
    number = IN_ONE_TRACE + 1
    told = {"TRACING_URL": receiver.url, "TRACING_SHARE": "0"}
    async with place(servers, database_url, database, tmp_path, **told) as fleet:
        with fleet.worker("ocr", OCR_CONCURRENCY="4"):
            blank = scanned_pdf([page(())] * number)
            answer = await fleet.client.post("/v1/ocr", files={"file": ("scan.pdf", blank)}, headers=SAMPLED)
            await fleet.ended(answer)
            attempts = await came(receiver, "ocr process", number + 2)
        (fan_out,) = await came(receiver, "fan out", 1)
    pages = [span for span in attempts if span.attributes["argosy.kind"] == "page"]
    assert len({span.trace_id for span in pages} - {CALLERS_TRACE}) == number
    assert {span.links for span in pages} == {((CALLERS_TRACE, fan_out.span_id),)}
    assert {span.parent_id for span in pages} == {""}


async def test_a_letter_to_three_is_one_trace_without_an_address(
    servers: Trio, database_url: str, database: Database, receiver: Receiver, relay: Relay, tmp_path: Path
) -> None:
    told = {"TRACING_URL": receiver.url, "TRACING_SHARE": "0"}
    letter = {
        "from": "shop@example.com", "subject": "A subject", "text": "A text",
        "recipients": [{"to": f"{name}@example.com"} for name in ("ann", "bob", "cyd")],
    }  # fmt: skip
    async with place(servers, database_url, database, tmp_path, **told) as fleet:
        url = servers.redis.urls["mailer"]
        with fleet.worker(
            "mailer", REDIS_URL=url, MAIL_RELAYS=f"smtp://127.0.0.1:{relay.port}", MAIL_HELO="x.example"
        ):
            await fleet.ended(await fleet.client.post("/v1/mail", json=letter, headers=SAMPLED))
            await came(receiver, "mailer process", 1)
        (request,) = await came(receiver, "POST submit_mail", 1)
    print(tree(receiver.spans))
    assert {span.trace_id for span in receiver.spans} == {CALLERS_TRACE}
    (attempt,) = named(receiver.spans, "mailer process")
    assert within(attempt, request)
    transactions = named(receiver.spans, "smtp transaction")
    assert len(transactions) == 3
    assert all(within(span, attempt) and span.attributes["argosy.code"] == 250 for span in transactions)
    for word in (b"example.com", b"ann", b"A subject", b"A text"):
        assert word not in receiver.raw.replace(b"x.example", b"")


@pytest.mark.parametrize("hangs", [False, True], ids=["away", "hangs"])
async def test_without_a_collector_all_goes_on_and_ends_in_time(
    servers: Trio, database_url: str, database: Database, receiver: Receiver, tmp_path: Path, hangs: bool
) -> None:
    receiver.answering.clear()
    url = receiver.url if hangs else "http://127.0.0.1:1"
    dsn = receiver.dsn if hangs else "http://key@127.0.0.1:1/1"
    told = {"TRACING_URL": url, "TRACING_SHARE": "1", "ERRORS_DSN": dsn}
    async with place(servers, database_url, database, tmp_path, **told) as fleet:
        with fleet.worker("ocr"):
            job = await fleet.ended(await fleet.client.post("/v1/ocr", **document(1)))
            assert job["state"] == "succeeded"
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < 60
    assert receiver.spans == []


async def test_a_report_leads_to_its_log_lines_and_its_trace(
    servers: Trio, database_url: str, database: Database, receiver: Receiver, tmp_path: Path
) -> None:
    """A bug of the worker: the folder for its temporary files is taken away under it."""
    told = {"TRACING_URL": receiver.url, "ERRORS_DSN": receiver.dsn}
    async with place(servers, database_url, database, tmp_path, **told) as fleet:
        # A short path: sockets lie in there too.
        with tempfile.TemporaryDirectory() as scratch, fleet.worker("ocr", TMPDIR=scratch) as path:

            async def has_begun() -> bool:
                return any(Path(scratch).glob("argosy-ocr-*/*"))

            await until(has_begun)
            (made,) = Path(scratch).glob("argosy-ocr-*")
            made.rename(made.with_name("away"))
            answer = await fleet.client.post("/v1/ocr", **document(1))

            async def reported() -> bool:
                return bool(receiver.events)

            async def traced() -> bool:
                return bool(named(receiver.spans, "POST submit_ocr"))

            await until(reported)
            await until(traced)
            lines = [orjson.loads(line) for line in path.read_bytes().splitlines() if line.startswith(b"{")]
    event = receiver.events[0]
    (line,) = [line for line in lines if line["event"] == "job.bug"][:1]
    assert event["tags"].items() >= {
        "job_id": line["job_id"], "trace_id": CALLERS_TRACE, "request_id": answer.headers["x-request-id"],
        "service": "ocr", "event": "job.bug",
    }.items()  # fmt: skip
    assert line["trace_id"] == CALLERS_TRACE
    assert event["contexts"]["trace"]["trace_id"] == CALLERS_TRACE
    assert named(receiver.spans, "POST submit_ocr")[0].trace_id == CALLERS_TRACE
    password = database_url.split(":")[2].split("@")[0]
    assert password not in receiver.raw.decode(errors="replace")
