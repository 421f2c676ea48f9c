"""From a request to a file and a letter that leads to it; and what is refused before a worker is asked."""

import csv
import io
import re
import time
from typing import Any

import httpx
import pytest

from libs.common.contracts.datasets import DATASETS
from libs.common.contracts.exports import FileFormat
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import ROLES, Role, Scope
from tests.exporting import SUPPRESSIONS, write_recipients
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.polling import until
from tests.relay import Relay

LETTER = {
    "from": "office@example.com",
    "subject": "{{ file }} of {{ rows }} rows",
    "text": "Ahoy {{ name }}: {{ link }} until {{ expires_at }}",
    "recipients": [{"to": "ada@example.com", "variables": {"name": "Ada"}}],
}
COPYING = """
SELECT FROM pg_stat_activity WHERE query LIKE 'COPY %' AND state = 'active' AND datname = current_database()
"""
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"dataset": "cargo"}, "body.dataset", "jobs, recipients"),
    ({"format": "pdf"}, "body.format", "csv, jsonl, xlsx, parquet"),
    ({"columns": ["tenant"]}, "body.columns", "address, reason"),
    ({"columns": ["address", "address"]}, "body.columns", "twice"),
    ({"columns": []}, "body.columns", ""),
    ({"filter": {"tenant": ["x"]}}, "body.filter", "reason, letter"),
    ({"filter": {"reason": "manual"}}, "body.filter", "reason"),
    ({"filter": {"reason": []}}, "body.filter", "reason"),
    ({"filter": {"letter": ["17"]}}, "body.filter", "job_"),
    ({"filter": {"created_after": "yesterday"}}, "body.filter", "created_after"),
    ({"filter": {"created_after": "0001-01-01T00:00:00Z"}}, "body.filter", "far"),
    ({"filter": {"created_after": 17}}, "body.filter", "created_after"),
    ({"format": "xlsx", "options": {"compression": "gzip"}}, "body.options", "csv, jsonl"),
    ({"format": "jsonl", "options": {"bom": True}}, "body.options", "csv"),
    ({"since": "job_" + "0" * 32}, "body.since", "possible for"),
    ({"subject": "ada@example.com"}, "body", "subject"),
    ({"dataset": "subject", "columns": ["row"]}, "body", "subject"),
    ({"query": "DROP TABLE"}, "body.query", ""),
    ({"also": [{"dataset": "jobs", "format": "csv", "columns": ["tenant"]}]}, "body.also.0.columns", "id, queue"),
    ({"also": [{"dataset": "jobs", "format": "csv"}] * 20}, "body.also", "19"),
    ({"also": [{"dataset": "jobs", "format": "csv", "also": []}]}, "body.also.0.also", ""),
    ({"letter": {**LETTER, "recipients": [], "to": ["a@example.com"]}}, "body.letter.recipients", "template"),
]


async def ended(client: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code in (200, 202), answer.text

    async def has_ended() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get(answer.headers["location"])).json()
        return found if found["finished_at"] else None

    found = await until(has_ended)
    assert found is not None
    return found


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("format_", FileFormat)
async def test_a_file_can_be_downloaded_with_its_manifest(gateway: Gateway, format_: FileFormat) -> None:
    client = await gateway.client()
    await gateway.database.fetch(SUPPRESSIONS, "dev", 3)
    wanted = {"dataset": "suppressions", "format": format_, "columns": ["address"]}
    job = await ended(client, await client.post("/v1/exports", json=wanted))
    assert (job["state"], job["kind"], job["result"]["rows"]) == ("succeeded", "file", 3), job["error"]
    assert job["progress"]["done"] == job["progress"]["total"] == 3
    file, manifest = job["artifacts"]
    assert file["name"] == f"suppressions.{format_}"
    answer = await client.get(file["url"])
    assert answer.headers["content-type"].startswith(file["media_type"].partition(";")[0])
    assert len(answer.content) == file["size"]
    (described,) = (await client.get(manifest["url"])).json()["files"]
    assert described["columns"] == [{"name": "address", "type": "text"}]
    assert described["sha256"] == file["sha256"]


@pytest.mark.usefixtures("exporter", "mailer")
async def test_several_files_are_told_of_in_one_letter(gateway: Gateway, relay: Relay) -> None:
    client = await gateway.client()
    await gateway.database.fetch(SUPPRESSIONS, "dev", 3)
    also = [{"dataset": "suppressions", "format": "jsonl"}, {"dataset": "suppressions", "format": "csv"}]
    text = "{% for one in files %}<{{ one.file }} {{ one.link }}>\n{% endfor %}"
    wanted = {"dataset": "suppressions", "format": "csv", "also": also, "letter": LETTER | {"text": text}}
    job = await ended(client, await client.post("/v1/exports", json=wanted))
    assert (job["state"], job["result"]["rows"]) == ("succeeded", 9), job["error"]
    names = ["suppressions.csv", "suppressions.jsonl", "suppressions-2.csv"]
    assert [artifact["name"] for artifact in job["artifacts"]] == [*names, "manifest.json"]

    async def has_come() -> bool:
        return bool(relay.deliveries)

    await until(has_come)
    letter = relay.deliveries[0].message.get_body().get_content()  # type: ignore[union-attr]
    links = re.findall(r"<(\S+) (\S+)>", re.sub(r"\s+", " ", letter))
    assert [name for name, _ in links] == names
    for artifact, (_, link) in zip(job["artifacts"], links, strict=False):
        assert (await gateway.anonymous().get(link)).content == (await client.get(artifact["url"])).content


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("exporter", [{"export_rows_per_s": 1000}], indirect=True)
@pytest.mark.parametrize("format_", FileFormat)
async def test_a_cancel_stops_the_copy_on_the_server(gateway: Gateway, format_: FileFormat) -> None:
    client = await gateway.client()
    await gateway.database.fetch(SUPPRESSIONS, "dev", 200_000)
    wanted = {"dataset": "suppressions", "format": format_}
    also = [{"dataset": "suppressions", "format": "csv"}]
    answer = await client.post("/v1/exports", json=wanted | {"also": also})

    async def copies() -> int:
        return len(await gateway.database.fetch(COPYING))

    async def are_copying() -> bool:
        return await copies() == 2

    async def have_stopped() -> bool:
        return await copies() == 0

    await until(are_copying)
    job = answer.json()["id"]
    assert (await client.post(f"/v1/jobs/{job}/cancel")).status_code == 202
    begun = time.monotonic()
    await until(have_stopped)
    print(f"stopped after {time.monotonic() - begun:.2f} s")
    found = await ended(client, answer)
    assert (found["state"], found["artifacts"]) == ("cancelled", [])

    async def is_empty() -> bool:
        return not [path for path in gateway.folder.rglob("*") if path.is_file() and path.stat().st_size]

    await until(is_empty)


@pytest.mark.parametrize(("change", "field", "says"), REFUSED)
async def test_what_is_wrong_is_refused_with_what_there_is(
    gateway: Gateway, change: dict[str, Any], field: str, says: str
) -> None:
    client = await gateway.client(role=Role.ADMIN)
    answer = await client.post("/v1/exports", json={"dataset": "suppressions", "format": "csv"} | change)
    (error,) = assert_problem(answer, 422, "invalid")["errors"]
    assert error["field"].startswith(field)
    assert says in error["message"]
    recurring = {"name": "n", "queue": "exporter", "cron": "0 3 * * *"}
    payload = {"dataset": "suppressions", "format": "csv"} | change
    answer = await client.post("/v1/schedules", json=recurring | {"payload": payload})
    assert_problem(answer, 422, "invalid")


async def test_a_key_gets_no_file_of_what_it_may_not_list(gateway: Gateway) -> None:
    for dataset in DATASETS.values():
        lacking = ROLES[Role.MEMBER] - {Scope(dataset.scope)}
        key = (await issue(gateway.database, "dev", "dev", "test", Role.MEMBER, scopes=lacking)).key
        client = gateway.anonymous(Authorization=f"Bearer {key}")
        wanted = {"dataset": dataset.name, "format": "csv"}
        assert_problem(await client.post("/v1/exports", json=wanted), 403, "forbidden")
        recurring = {"name": "n", "queue": "exporter", "cron": "0 3 * * *", "payload": wanted}
        assert_problem(await client.post("/v1/schedules", json=recurring), 403, "forbidden")
        other = next(one.name for one in DATASETS.values() if one.scope != dataset.scope)
        several = {"dataset": other, "format": "csv", "also": [wanted]}
        assert_problem(await client.post("/v1/exports", json=several), 403, "forbidden")
    wanted = {"dataset": "subject", "subject": "ada@example.com", "format": "csv"}
    assert_problem(await (await gateway.client()).post("/v1/exports", json=wanted), 403, "forbidden")
    admin = await gateway.client(role=Role.ADMIN)
    assert (await admin.post("/v1/exports", json=wanted)).status_code == 202
    no_mail = ROLES[Role.MEMBER] - {Scope.MAIL_WRITE}
    key = (await issue(gateway.database, "dev", "dev", "test", Role.MEMBER, scopes=no_mail)).key
    client = gateway.anonymous(Authorization=f"Bearer {key}")
    with_letter: dict[str, Any] = {"dataset": "jobs", "format": "csv", "letter": LETTER}
    assert_problem(await client.post("/v1/exports", json=with_letter), 403, "forbidden")
    reader = await gateway.client(role=Role.READ)
    assert_problem(await reader.post("/v1/exports", json={"dataset": "jobs", "format": "csv"}), 403, "forbidden")


@pytest.mark.usefixtures("exporter")
async def test_a_schedule_writes_a_file(gateway: Gateway) -> None:
    client = await gateway.client()
    await gateway.database.fetch(SUPPRESSIONS, "dev", 2)
    recurring = {
        "name": "nightly",
        "queue": "exporter",
        "cron": "0 3 * * *",
        "payload": {"dataset": "suppressions", "format": "csv", "filter": {"reason": ["manual"]}},
    }
    schedule = (await client.post("/v1/schedules", json=recurring)).json()
    job = await ended(client, await client.post(f"/v1/schedules/{schedule['id']}/run"))
    assert job["result"]["rows"] == 2


@pytest.mark.usefixtures("exporter", "mailer")
async def test_a_letter_leads_to_the_file(gateway: Gateway, relay: Relay) -> None:
    client = await gateway.client()
    await gateway.database.fetch(SUPPRESSIONS, "dev", 2)
    wanted = {"dataset": "suppressions", "format": "csv", "letter": LETTER}
    await ended(client, await client.post("/v1/exports", json=wanted))

    async def has_come() -> bool:
        return bool(relay.deliveries)

    await until(has_come)
    (delivery,) = relay.deliveries
    assert delivery.recipient == "ada@example.com"
    assert delivery.message["subject"] == "suppressions.csv of 2 rows"
    text = delivery.message.get_body().get_content()  # type: ignore[union-attr]
    link = re.search(r"Ahoy Ada: (\S+) until \d{4}-", re.sub(r"\s+", " ", text))
    assert link is not None, text
    answer = await gateway.anonymous().get(link[1])
    assert answer.status_code == 200
    assert answer.text.count("\n") == 3


async def test_datasets_are_listed_as_they_can_be_asked_for(gateway: Gateway) -> None:
    client = await gateway.client()
    listed = (await client.get("/v1/datasets")).json()
    assert [one["name"] for one in listed["datasets"]] == [*DATASETS]
    for one in listed["datasets"]:
        names = [column["name"] for column in one["columns"]]
        answer = await client.post("/v1/exports", json={"dataset": one["name"], "format": "csv", "columns": names})
        assert answer.status_code == 202
    assert listed["formats"] == list(FileFormat)


@pytest.mark.usefixtures("exporter")
async def test_filters_select(gateway: Gateway) -> None:
    client = await gateway.client()
    await write_recipients(gateway.database, "dev", ["a", "b"])
    await gateway.database.fetch(SUPPRESSIONS, "dev", 100)  # one a minute, from 00:01
    wanted = {
        "dataset": "suppressions",
        "format": "csv",
        "filter": {"created_after": "2026-01-01T00:10:00Z", "created_before": "2026-01-01T01:20:00+01:00"},
    }
    job = await ended(client, await client.post("/v1/exports", json=wanted))
    answer = await client.get(job["artifacts"][0]["url"])
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["address"] for row in rows] == [f"a{n}@example.com" for n in range(10, 20)]
    assert rows[0]["created_at"] == "2026-01-01T00:10:00.000000Z"
