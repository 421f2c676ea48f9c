"""The fleet as its users have it: started by the command behind `make up`, spoken to over HTTP, and maltreated."""

import asyncio
import json
import re
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common.contracts.services import SERVICES, Need
from tests import pictures
from tests.e2e.fleet import Fleet
from tests.polling import until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    started = Fleet(tmp_path_factory.mktemp("run"))
    started.command("up")
    yield started
    started.command("down")
    assert started.processes() == []


async def test_a_document_goes_in_and_its_text_comes_out(fleet: Fleet) -> None:
    path = await fleet.submit(pictures.scanned_pdf([pictures.page()]))
    job = await fleet.ended(path)
    assert (job["state"], job["result"]["pages"]) == ("succeeded", 1)
    async with fleet.client() as client:
        text = (await client.get(job["artifacts"][0]["url"])).text
    assert pictures.word_f1(text, " ".join(pictures.LINES)) > 0.95


async def test_a_language_that_is_not_installed_is_refused_with_those_that_are(fleet: Fleet) -> None:
    async with fleet.client() as client:
        options = {"options": '{"languages": ["zzz"]}'}
        answer = await client.post("/v1/ocr", files={"file": ("a.pdf", b"%PDF-1.7")}, data=options)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == "options.languages"
    assert re.fullmatch(r"Not installed: zzz\. Installed: (\w+, )*eng(, \w+)*\.", error["message"])


async def test_a_request_is_found_again_in_the_workers_log(fleet: Fleet) -> None:
    """The caller's trace and the request's id: in the answer, in the job, in the log of who worked on it."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with fleet.client() as client:
        answer = await client.post(
            "/v1/ocr",
            files={"file": ("broken.pdf", b"%PDF-1.7 and no more")},
            headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        )
    request_id = answer.headers["x-request-id"]
    job = await fleet.ended(answer.headers["location"])
    assert job["traceparent"] == f"00-{trace}-{request_id.removeprefix('req_')}-01"
    lines = [json.loads(line) for line in (fleet.folder / "logs" / "ocr.log").read_text().splitlines()]
    (failed,) = [line for line in lines if line.get("job_id") == job["id"] and line["event"] == "job.failed"]
    assert (failed["request_id"], failed["trace_id"]) == (request_id, trace)


async def test_mail_is_caught_and_shown(fleet: Fleet) -> None:
    letter = {"from": "office@example.com", "subject": "Ahoy {{ name }}", "text": "Your cargo is in, {{ name }}."}
    recipients = [{"to": f"r{n}@example.com", "variables": {"name": f"Nr {n}"}} for n in range(600)]
    async with fleet.client() as client:
        answer = await client.post("/v1/mail", json=letter | {"recipients": recipients})
        job = await fleet.ended(answer.headers["location"])
        assert job["result"] == {"recipients": 600, "sent": 600}
        page = (await client.get(f"/v1/mail/{job['id']}/recipients?limit=500")).json()
    assert {recipient["state"] for recipient in page["recipients"]} == {"sent"}
    assert (page["counts"], page["next_cursor"]) == ({"sent": 600}, "499")
    caught = [path.read_text() for path in (fleet.folder / "mail").glob("*.eml")]
    assert len(caught) == 600
    assert sum("Your cargo is in, Nr 42." in message for message in caught) == 1
    state = json.loads((fleet.folder / "state.json").read_text())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{state['mail_page_port']}") as client:
        listed = (await client.get("/")).text
        assert "Ahoy Nr" in listed
        shown = await client.get("/" + re.findall(r'href="/([^"]+)"', listed)[0])
        assert "Your cargo is in" in shown.text


async def test_a_second_up_is_no_harm(fleet: Fleet) -> None:
    before = {process.pid for process in fleet.processes("-m")}
    assert "already running" in fleet.command("up")
    assert {process.pid for process in fleet.processes("-m")} == before


async def test_a_supervisor_that_is_busy_is_not_taken_for_dead(fleet: Fleet) -> None:
    before = {process.pid for process in fleet.processes("-m")}
    (supervisor,) = fleet.processes("deploy.local.supervisor")
    supervisor.suspend()
    try:
        starting = asyncio.create_task(asyncio.to_thread(fleet.command, "up"))
        await asyncio.wait({starting}, timeout=3)
        assert not starting.done()
    finally:
        supervisor.resume()
    assert "already running" in await starting
    assert {process.pid for process in fleet.processes("-m")} == before


async def test_scaling_up_and_down(fleet: Fleet) -> None:
    for processes in (3, 1):
        fleet.command("scale", "ocr", str(processes))

        async def running(wanted: int = processes) -> bool:
            return len(fleet.processes("-m", "services.ocr")) == wanted

        await until(running)
    assert "There is no worker" in fleet.command("scale", "cook", "2", code=1)


async def test_work_goes_on_without_redis(fleet: Fleet) -> None:
    fleet.command("redis-stop")
    assert (await fleet.ended(await fleet.submit(pictures.text_pdf("x"))))["state"] == "succeeded"
    async with fleet.client() as client:
        assert (await client.get("/readyz")).json()["redis"] is False
    fleet.command("redis-start")

    async def is_back() -> bool:
        async with fleet.client() as client:
            ready = (await client.get("/readyz")).json()
        return bool(ready["redis"] and ready["limits"] == "shared")

    await until(is_back)


async def test_a_thousand_follow_at_one_gateway(fleet: Fleet) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 2_000:
        pytest.skip("this user may not open so many connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # they are connections of this process too
    async with fleet.client() as client, AsyncExitStack() as opened:
        later = {"options": json.dumps({"run_at": "2999-01-01T00:00:00Z"})}
        answer = await client.post("/v1/ocr", files={"file": ("x.pdf", pictures.text_pdf("x"))}, data=later)
        path = answer.headers["location"]
        request = (
            f"GET {path}/events HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n\r\n"
        )
        streams = []
        for _ in range(1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", fleet.port)
            opened.callback(writer.close)
            writer.write(request.encode())
            await writer.drain()
            streams.append(reader)
        for reader in streams:
            await reader.readuntil(b'"state":"scheduled"')
        assert (await client.post(path + "/cancel")).status_code == 200
        for reader in streams:
            await reader.readuntil(b'"state":"cancelled"')
            assert await reader.readuntil(b"0\r\n\r\n")


async def test_a_running_document_is_cancelled_and_its_processes_with_it(fleet: Fleet) -> None:
    path = await fleet.submit(sheets(6, "to be cancelled"))
    tesseract = str(shutil.which("tesseract"))

    async def reading() -> bool:
        return bool(fleet.processes(tesseract))

    async def all_ended() -> bool:
        async with fleet.client() as client:
            children = (await client.get(path + "/children")).json()["jobs"]
        assert len(children) == 6
        return all(child["finished_at"] for child in children) and not fleet.processes(tesseract)

    await until(reading)
    async with fleet.client() as client:
        answer = await client.post(path + "/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    await until(all_ended)
    assert (await fleet.job(path))["state"] == "cancelled"
    assert await documents(fleet, path) == []


async def test_a_worker_killed_in_the_middle_of_a_document(fleet: Fleet) -> None:
    """The restarted worker finishes it, once; what had been read is there meanwhile, and is not read again."""
    path = await fleet.submit(sheets(6, "to be killed"))

    async def half_way() -> bool:
        return bool((await fleet.job(path))["progress"]["done"] >= 1)

    await until(half_way)
    fleet.kill("-m", "services.ocr")
    async with fleet.client() as client:
        children = (await client.get(path + "/children")).json()["jobs"]
        read = next(child for child in children if child["state"] == "succeeded")
        part = await client.get(next(a["url"] for a in read["artifacts"] if a["name"] == "page.txt"))
    assert f"Sheet {read['result']['number']} to be killed" in part.text
    job = await fleet.ended(path)
    assert (job["state"], job["attempt"], job["failures"], job["children"]) == ("succeeded", 2, 0, 6)
    async with fleet.client() as client:
        text = (await client.get(job["artifacts"][0]["url"])).text
        children = (await client.get(path + "/children")).json()["jobs"]
    assert [text.count(f"Sheet {number} to be killed") for number in range(1, 7)] == [1] * 6
    assert [child["attempt"] for child in children if child["id"] == read["id"]] == [1]
    rows = await documents(fleet, path)
    assert [row["pages"] for row in rows] == [6]


def sheets(number: int, what: str) -> bytes:
    """A scan of so many different pages."""
    lines = (pictures.LINES * 5)[:18]
    return pictures.scanned_pdf(
        [pictures.page([f"Sheet {n} {what}", *lines], dpi=300) for n in range(1, number + 1)], dpi=300
    )


async def test_nats_killed_and_wiped_while_jobs_wait(fleet: Fleet) -> None:
    paths = await asyncio.gather(*(fleet.submit(pictures.text_pdf(f"job {n}")) for n in range(50)))
    (server,) = fleet.processes("-c", str(fleet.folder / "nats" / "nats.conf"))
    server.send_signal(signal.SIGKILL)
    shutil.rmtree(fleet.folder / "nats" / "data", ignore_errors=True)
    for path in paths:
        assert (await fleet.ended(path))["state"] == "succeeded"
    for path in paths:
        assert len(await documents(fleet, path)) == 1


async def test_a_killed_gateway_comes_back_with_what_it_had_accepted(fleet: Fleet) -> None:
    path = await fleet.submit(pictures.scanned_pdf([pictures.page()]))
    fleet.kill("-m", "services.gateway")

    async def back() -> bool:
        try:
            return bool((await fleet.job(path))["id"])
        except httpx.TransportError:
            return False

    await until(back)
    assert (await fleet.ended(path))["state"] == "succeeded"


async def test_down_and_up_keep_everything_even_after_the_supervisor_was_killed(fleet: Fleet) -> None:
    path = await fleet.submit(pictures.text_pdf("kept"))
    assert (await fleet.ended(path))["state"] == "succeeded"
    fleet.command("down")
    assert fleet.processes() == []
    assert "not running" in fleet.command("down")
    fleet.command("up")
    assert (await fleet.job(path))["state"] == "succeeded"
    fleet.kill("-m", "deploy.local.supervisor")
    assert "left behind" in fleet.command("up")
    assert (await fleet.job(path))["state"] == "succeeded"


async def test_no_service_is_told_the_password_of_the_servers(fleet: Fleet) -> None:
    fleet.command("up")
    password = json.loads((fleet.folder / "state.json").read_text())["password"]
    for service in SERVICES:
        environment = (fleet.folder / f"{service.name}.env").read_text()
        assert "DATABASE_URL" in environment
        assert password not in environment
        assert ("REDIS_URL" in environment) == (Need.REDIS in service.needs)


async def test_a_taken_port_is_named(fleet: Fleet, tmp_path: Path) -> None:
    other = Fleet(tmp_path / "other")
    other.port = fleet.port
    assert f"Port {fleet.port} is taken" in other.command("up", code=1)
    assert other.processes() == []


async def documents(fleet: Fleet, path: str) -> list[Any]:
    """The rows of ocr.documents for a job."""
    environment = (fleet.folder / "ocr.env").read_text()
    url = next(line.split("'")[1] for line in environment.splitlines() if "DATABASE_URL" in line)
    connection = await asyncpg.connect(url, server_settings={"role": "argosy_ocr"})
    try:
        digits = path.rpartition("_")[2]
        return list(await connection.fetch("SELECT * FROM ocr.documents WHERE job_id = $1::text::uuid", digits))
    finally:
        await connection.close()
