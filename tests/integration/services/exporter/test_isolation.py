"""A tenant's file has that tenant's rows, of every dataset, and somebody else's has none of them."""

import json
from uuid import uuid4

import pytest

from libs.common.contracts.datasets import DATASETS
from libs.common.db import Database
from tests.exporting import Exporter

FILL = {
    "jobs": "INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags,"
    " max_attempts, timeout_s, due_at, finished_at) VALUES (gen_random_uuid(), $1, $2, 'ocr', 'k', 'succeeded',"
    " 'normal', now(), '{}', '[]', 1, 1, now(), now())",
    "recipients": "WITH l AS (INSERT INTO mail.letters (id, tenant, content) VALUES (gen_random_uuid(), $1, '{}')"
    " RETURNING id) INSERT INTO mail.recipients (letter, number, tenant, address, name, domain, state)"
    " SELECT id, 1, $1, $2, '', 'x', 'sent' FROM l",
    "suppressions": "INSERT INTO mail.suppressions (tenant, address, reason) VALUES ($1, $2, 'manual')",
    "deadlines": "INSERT INTO mail.deadlines (tenant, name, due_at, variables) VALUES ($1, $2, now(), '{}')",
    "followers": "WITH d AS (INSERT INTO mail.deadlines (tenant, name, due_at, variables)"
    " VALUES ($1, 'f' || $2, now(), '{}')) INSERT INTO mail.followers (tenant, deadline, address, name, variables)"
    " VALUES ($1, 'f' || $2, $2, '', '{}')",
    "documents": "INSERT INTO ocr.documents (job_id, tenant, pages, pages_recognised) VALUES ($3, $1, 1, 1)",
    "events": "INSERT INTO analytics.events (tenant, id, day, name, at, subject, properties, received_at)"
    " VALUES ($1, $2, current_date, 'view', now(), $2, '{}', now())",
    "rejected_events": "INSERT INTO analytics.rejected (tenant, job, reason, event, at)"
    " VALUES ($1, gen_random_uuid(), $2, jsonb_build_object('subject', $2::text), now())",
    "rollups": "INSERT INTO analytics.rollups (tenant, name, dim, hour, value, count, sum)"
    " VALUES ($1, $2, '', now(), '', 1, 1)",
}
FILL |= {
    "opportunities": "INSERT INTO sync.opportunities (tenant, id, source, key, title, summary, extra, raw,"
    " language, digest, first_run, last_run) SELECT $1, id, id, $2, '', '', '{}', '{}', 'english', '', id, id"
    " FROM (SELECT gen_random_uuid() AS id) AS made",
    "opportunity_changes": "INSERT INTO sync.changes (tenant, number, opportunity, run, what, fields)"
    " VALUES ($1, 1, gen_random_uuid(), gen_random_uuid(), $2, '{}')",
    "search_recipients": "WITH s AS (INSERT INTO sync.searches (tenant, name, id, filter, letter, told_by,"
    " told_number) VALUES ($1, 's' || $2, gen_random_uuid(), '{}', '{}', '0', 0))"
    " INSERT INTO sync.search_recipients (tenant, search, address, name, variables)"
    " VALUES ($1, 's' || $2, $2, '', '{}')",
}
MONTH = "SELECT analytics.keep_partitions(current_date, current_date)"
OTHERS_TENANT = "globex"


async def fill(database: Database, name: str, tenant: str, word: str) -> None:
    sql = FILL[name]
    values = (tenant, word, uuid4())[: 3 if "$3" in sql else 2]
    await database.fetch(
        sql if "$2" in sql else sql.replace("$3", "$2"), *(values if "$2" in sql else (tenant, uuid4()))
    )


async def words(exporter: Exporter, tenant: str, **request: str) -> list[str]:
    file = await exporter.export(tenant, format="jsonl", **request)
    return [line for line in file.content.decode().splitlines() if line]


async def test_every_dataset_has_rows_here() -> None:
    assert {*FILL} == {*DATASETS}


@pytest.mark.parametrize("name", DATASETS)
async def test_a_tenant_gets_its_own_rows(exporter: Exporter, database: Database, name: str) -> None:
    await database.fetch(MONTH)
    for tenant in ("acme", OTHERS_TENANT):
        await fill(database, name, tenant, f"of-{tenant}")
    mine, others = [
        [line for line in await words(exporter, tenant, dataset=name) if name != "jobs" or "file" not in line]
        for tenant in ("acme", OTHERS_TENANT)
    ]
    assert len(mine) == len(others) == 1
    assert mine != others
    assert OTHERS_TENANT not in mine[0]
    assert [
        line for line in await words(exporter, "'; RESET ROLE; --", dataset=name) if '"file"' not in line
    ] == []


async def test_a_person_is_found_in_every_dataset_that_names_people(
    exporter: Exporter, database: Database
) -> None:
    await database.fetch(MONTH)
    naming = {name for name, dataset in DATASETS.items() if dataset.subject is not None}
    assert len(naming) >= 5
    for name in naming:
        for tenant in ("acme", OTHERS_TENANT):
            for word in ("ada@example.com", "bob@example.com"):
                await fill(database, name, tenant, word)
    await fill(database, "suppressions", "acme", "ADA@Example.com")
    lines = [
        json.loads(line) for line in await words(exporter, "acme", dataset="subject", subject="ada@example.com")
    ]
    assert sorted(line["dataset"] for line in lines) == sorted([*naming, "suppressions"])
    assert all("ada@example.com" in json.dumps(line["row"]).lower() for line in lines)
