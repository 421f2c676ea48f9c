"""What a list costs: as many statements for a hundred rows as for one."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from deploy.local.test_servers import Trio
from libs.common import rpc
from libs.common.bus import Bus
from libs.common.contracts.ids import public_id
from libs.common.db import Database
from libs.common.ledger.jobs import new_id
from libs.common.rpc import Document, RpcHandler
from services.analytics import rpc_handlers as analytics_handlers
from services.gateway.identity import authentication
from services.gateway.identity.scopes import Role
from services.gateway.routes import OPERATIONS
from services.mailer import rpc_handlers as mail_handlers
from services.sync import rpc_handlers as sync_handlers
from tests.analysing import analysing
from tests.integration.services.gateway.gateway import Gateway
from tests.mailing import mailing
from tests.polling import until
from tests.relay import Relay
from tests.syncing import syncing

D = TypeVar("D")
PARENT, LETTER = new_id(), new_id()
JOBS = """
WITH parents AS (
  INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, max_attempts,
    timeout_s, due_at, started_at, children, progress, artifacts)
  SELECT gen_random_uuid(), 'dev', 'key', 'ocr', 'document', 'waiting', 'normal', now(), '{}', '["a"]', 5, 60,
    now(), now(), 2, '{"done": 0, "total": 2}',
    '[{"name": "a.txt", "media_type": "text/plain", "size": 1, "sha256": "0", "key": "k"}]'
  FROM generate_series(1, $1) RETURNING id)
INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, max_attempts,
  timeout_s, due_at, parent)
SELECT gen_random_uuid(), 'dev', 'key', 'ocr', 'page', 'scheduled', 'normal', now(), '{}', '[]', 5, 60,
  now() + interval '1 day', id FROM parents, generate_series(1, 2)
"""
CHILDREN = f"""
WITH parent AS (
  INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, max_attempts,
    timeout_s, due_at, started_at, children, progress)
  VALUES ('{PARENT}', 'dev', 'key', 'ocr', 'document', 'waiting', 'normal', now(), '{{}}', '[]', 5, 60, now(),
    now(), 101, '{{}}') ON CONFLICT DO NOTHING)
INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, max_attempts,
  timeout_s, due_at, parent)
SELECT gen_random_uuid(), 'dev', 'key', 'ocr', 'page', 'scheduled', 'normal', now(), '{{}}', '[]', 5, 60,
  now() + interval '1 day', '{PARENT}' FROM generate_series(1, $1)
"""  # noqa: S608 - made of constants
SCHEDULES = """
INSERT INTO ledger.schedules (id, tenant, created_by, name, queue, kind, payload, fields, cron, timezone, catch_up)
SELECT gen_random_uuid(), 'dev', 'key', gen_random_uuid(), 'ocr', 'document', '{}',
  '{"priority": "normal", "max_attempts": 5, "timeout_s": 60, "tags": [], "unique_for": null}', '0 3 1 1 *', 'UTC',
  'one' FROM generate_series(1, $1)
"""
KEYS = """
INSERT INTO identity.keys (id, tenant, name, role, secret_sha256)
SELECT substr(md5(random()::text), 1, 12), 'dev', 'web', 'member', '\\x00' FROM generate_series(1, $1)
"""
TEMPLATES = """
WITH named AS MATERIALIZED (SELECT gen_random_uuid() AS name FROM generate_series(1, $1))
INSERT INTO mail.templates (tenant, name, version, subject)
SELECT 'dev', name, version, 'Tides' FROM named, generate_series(1, 3) version
"""
SUPPRESSIONS = """
INSERT INTO mail.suppressions (tenant, address, reason)
SELECT 'dev', gen_random_uuid() || '@a.test', 'bounce' FROM generate_series(1, $1)
"""
DEADLINES = """
WITH made AS (
  INSERT INTO mail.deadlines (tenant, name, due_at, variables)
  SELECT 'dev', gen_random_uuid(), now(), '{}' FROM generate_series(1, $1) RETURNING name)
INSERT INTO mail.followers (tenant, deadline, address, name, variables)
SELECT 'dev', name, n || '@a.test', '', '{}' FROM made, generate_series(1, 3) n
"""
RECIPIENTS = f"""
WITH letter AS (
  INSERT INTO mail.letters (id, tenant, content) VALUES ('{LETTER}', 'dev', '{{}}') ON CONFLICT DO NOTHING)
INSERT INTO mail.recipients (letter, number, tenant, address, name, domain, state)
SELECT '{LETTER}', n + (SELECT count(*) FROM mail.recipients), 'dev', n || '@a.test', '', 'a.test', 'sent'
FROM generate_series(1, $1::int) n
"""  # noqa: S608 - made of constants
TYPES = """
INSERT INTO analytics.types (tenant, name, version, rebuilt, dimensions)
SELECT 'dev', 'tide-' || gen_random_uuid(), 1, 1, '{page}' FROM generate_series(1, $1)
"""
REJECTED = """
INSERT INTO analytics.rejected (tenant, job, reason, event, at)
SELECT 'dev', gen_random_uuid(), 'bad_time', '{}', now() FROM generate_series(1, $1)
"""
SOURCES = """
INSERT INTO sync.sources (tenant, id, name, spec)
SELECT 'dev', id, id, '{"url": "https://example.org/", "format": "feed"}' FROM (
  SELECT gen_random_uuid() AS id FROM generate_series(1, $1::int)) made
"""
SOURCE_REJECTED = """
WITH source AS (
  INSERT INTO sync.sources (tenant, id, name, spec)
  VALUES ('dev', gen_random_uuid(), 'tides', '{"url": "https://example.org/", "format": "feed"}')
  ON CONFLICT (tenant, name) DO UPDATE SET name = excluded.name RETURNING id)
INSERT INTO sync.rejected (tenant, source, run, reason, raw)
SELECT 'dev', id, id, 'no_title', '{}' FROM source, generate_series(1, $1::int)
"""
SEARCHES = """
WITH made AS (
  INSERT INTO sync.searches (tenant, name, id, filter, letter, told_by, told_number)
  SELECT 'dev', id, id, '{"q": "tides"}', '{}', '0', -1 FROM (
    SELECT gen_random_uuid() AS id FROM generate_series(1, $1::int)) ids RETURNING id)
INSERT INTO ledger.schedules (id, tenant, created_by, name, queue, kind, payload, fields, cron, timezone, catch_up)
SELECT id, 'dev', 'key', id, 'sync', 'search', '{}', '{}', '0 3 1 1 *', 'UTC', 'one' FROM made
"""
SOURCE, OPPORTUNITY = new_id(), new_id()
_OPPORTUNITIES = f"""
WITH source AS (
  INSERT INTO sync.sources (tenant, id, name, spec) VALUES ('dev', '{SOURCE}', 'harbour', '{{}}')
  ON CONFLICT DO NOTHING),
made AS (
  INSERT INTO sync.opportunities
    (tenant, id, source, key, title, summary, extra, raw, language, digest, first_run, last_run)
  SELECT 'dev', id, '{SOURCE}', id, 'Dredging', '', '{{}}', '{{}}', 'english', '', id, id FROM wanted
  ON CONFLICT DO NOTHING)
"""  # noqa: S608 - made of constants
_WANTED = "wanted AS (SELECT gen_random_uuid() AS id FROM generate_series(1, $1::int)),"
OPPORTUNITIES = _OPPORTUNITIES.replace("WITH", f"WITH {_WANTED}", 1) + "SELECT 1"
_CHANGES = """
INSERT INTO sync.changes (tenant, number, opportunity, run, what, fields)
SELECT 'dev', n, {of}, gen_random_uuid(), 'updated', '{{"title": ["Tides", "Dredging"]}}'
FROM generate_series(1, $1::int) n
"""
CHANGES = _CHANGES.format(of="gen_random_uuid()")
HISTORY = _OPPORTUNITIES.replace(
    "WITH", f"WITH wanted AS (SELECT '{OPPORTUNITY}'::uuid AS id),", 1
) + _CHANGES.format(of=f"'{OPPORTUNITY}'")
FILLED_BY = {
    "/v1/jobs": JOBS,
    "/v1/jobs/{id}/children": CHILDREN,
    "/v1/schedules": SCHEDULES,
    "/v1/keys": KEYS,
    "/v1/templates": TEMPLATES,
    "/v1/suppressions": SUPPRESSIONS,
    "/v1/deadlines": DEADLINES,
    "/v1/mail/{id}/recipients": RECIPIENTS,
    "/v1/event-types": TYPES,
    "/v1/events/rejected": REJECTED,
    "/v1/sources": SOURCES,
    "/v1/sources/{name}/rejected": SOURCE_REJECTED,
    "/v1/opportunities": OPPORTUNITIES,
    "/v1/searches": SEARCHES,
    "/v1/changes": CHANGES,
    "/v1/opportunities/{id}/history": HISTORY,
}
"""For each list, a statement that makes so many rows of it."""
IDS = {
    "/v1/jobs/{id}/children": public_id(PARENT),
    "/v1/mail/{id}/recipients": public_id(LETTER),
    "/v1/opportunities/{id}/history": public_id(OPPORTUNITY, "opp"),
    "/v1/sources/{name}/rejected": "tides",
}
THERE_BEFORE = {"/v1/keys": 1}

ASKED_BY_A_NEW_CONNECTION = "typeinfo_tree", "set_config('jit'"
"""What asyncpg asks about types that a connection meets for the first time."""

counts: ContextVar[bool] = ContextVar("counts", default=False)
"""Whether what runs belongs to the request that is looked at: dispatchers and others ask in the same process."""


@asynccontextmanager
async def counting(*databases: Database) -> AsyncIterator[list[str]]:
    """The statements executed for the request in the block, without what a new connection asks about types."""
    seen: list[str] = []

    def note(query: Any) -> None:
        if counts.get() and not any(asked in query.query for asked in ASKED_BY_A_NEW_CONNECTION):
            seen.append(query.query)

    watched = {driver for database in databases for driver in database._pool._drivers}
    for driver in watched:
        driver.add_query_logger(note)
    token = counts.set(True)
    yield seen
    counts.reset(token)
    await asyncio.sleep(0)  # what was executed last is told in the next round of the loop
    for driver in watched:
        driver.remove_query_logger(note)
    assert {driver for database in databases for driver in database._pool._drivers} <= watched


def counted(handler: RpcHandler[D]) -> RpcHandler[D]:
    """The handler, whose statements belong to the request."""

    async def answer(tenant: str, request: Document, deps: D) -> Document:
        token = counts.set(True)
        try:
            return await handler(tenant, request, deps)
        finally:
            counts.reset(token)

    return answer


@pytest.fixture
async def mailer(
    gateway: Gateway, mail_database: Database, nats_bus: Bus, servers: Trio, tmp_path: Path
) -> AsyncIterator[None]:
    """A mailer that only answers."""
    async with mailing(mail_database, gateway.database, nats_bus, servers, tmp_path, Relay()) as made:
        handlers = {name: counted(handler) for name, handler in mail_handlers.HANDLERS.items()}
        async with nats_bus.serving(rpc.subject_pattern("mailer"), rpc.serve(handlers, made.deps)):
            yield


@pytest.fixture
async def analyst(
    gateway: Gateway, analytics_database: Database, nats_bus: Bus, tmp_path: Path
) -> AsyncIterator[None]:
    """An analytics worker that only answers."""
    async with analysing(analytics_database, gateway.database, nats_bus, tmp_path / "reports") as made:
        handlers = {name: counted(handler) for name, handler in analytics_handlers.HANDLERS.items()}
        async with nats_bus.serving(rpc.subject_pattern("analytics"), rpc.serve(handlers, made.deps)):
            yield


@pytest.fixture
async def syncer(gateway: Gateway, sync_database: Database, nats_bus: Bus, tmp_path: Path) -> AsyncIterator[None]:
    """A sync worker that only answers."""
    async with syncing(sync_database, gateway.database, nats_bus, tmp_path / "sync") as made:
        handlers = {name: counted(handler) for name, handler in sync_handlers.HANDLERS.items()}
        async with nats_bus.serving(rpc.subject_pattern("sync"), rpc.serve(handlers, made.deps)):
            yield


async def all_are_listed(client: httpx.AsyncClient, path: str, rows: int) -> bool:
    """Whether the list shows so many: changes wait for whoever writes at the moment."""
    return await listed(client, path) == rows


async def listed(client: httpx.AsyncClient, path: str) -> int:
    """How many rows the list shows."""
    answer = await client.get(re.sub(r"{\w+}", IDS.get(path, ""), path), params={"limit": 100})
    assert answer.status_code == 200, answer.text
    (rows,) = (value for value in answer.json().values() if isinstance(value, list))
    return len(rows)


def test_every_list_is_known() -> None:
    lists = {
        operation.path for operation in OPERATIONS if operation.query and "limit" in operation.query.model_fields
    }
    assert lists == {*FILLED_BY}


@pytest.mark.usefixtures("mailer", "analyst", "syncer")
async def test_a_hundred_rows_cost_as_many_statements_as_one(
    gateway: Gateway,
    mail_database: Database,
    analytics_database: Database,
    sync_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = mail_database, analytics_database, sync_database
    monkeypatch.setattr(authentication, "CACHED_FOR_S", 3600.0)  # who calls is asked once
    client = await gateway.client("dev", Role.ADMIN)
    executed: dict[str, dict[int, int]] = {}
    for path, fill in FILLED_BY.items():
        for rows, more in ((1, 1 - THERE_BEFORE.get(path, 0)), (100, 99)):
            await gateway.database.fetch(fill, more)
            await until(partial(all_are_listed, client, path, rows))
            async with counting(gateway.app.state.database, *workers) as seen:
                assert await listed(client, path) == rows
            assert seen, "nothing was counted"
            executed.setdefault(path, {})[rows] = len(seen)
    print(f"\n{'statements':32}{'1 row':>8}{'100 rows':>10}")
    for path, by_rows in executed.items():
        print(f"{path:32}{by_rows[1]:8}{by_rows[100]:10}")
    assert [path for path, by_rows in executed.items() if by_rows[1] != by_rows[100]] == []
