"""A database that is in use goes through every later migration with all that is in it."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg

from deploy.local.test_servers import Trio
from deploy.migrations.__main__ import upgrade
from libs.common.config import DatabaseSettings
from libs.common.ledger.schedules import FLEET_TENANT

RELEASED = "0010"
"""The revision of version 0.1.0."""
JOB, LETTER, SCHEDULE = (f"0198f000-0000-7000-8000-00000000000{n}" for n in (1, 2, 3))
IN_USE = f"""
INSERT INTO identity.tenants (id) VALUES ('dev');
INSERT INTO identity.keys (id, tenant, name, role, secret_sha256) VALUES ('key', 'dev', 'web', 'member', '\\x00');
INSERT INTO identity.limits (tenant, policy, figure) VALUES ('dev', 'api', '600/min');
INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, max_attempts,
  timeout_s, due_at)
VALUES
  ('{JOB}', 'dev', 'key', 'ocr', 'document', 'queued', 'normal', now(), '{{"source": 1}}', '["a"]', 5, 60, now()),
  ('{LETTER}', 'dev', 'key', 'mailer', 'letter', 'succeeded', 'normal', now(), '{{}}', '[]', 5, 60, now());
INSERT INTO ledger.entries (queue, what, amount) VALUES ('ocr', 'accepted', 1), ('mailer', 'accepted', 1);
INSERT INTO ledger.schedules (id, tenant, created_by, name, queue, kind, payload, fields, cron, timezone, catch_up)
VALUES ('{SCHEDULE}', 'dev', 'key', 'nightly', 'ocr', 'document', '{{}}', '{{}}', '0 3 * * *', 'UTC', 'one');
INSERT INTO mail.letters (id, tenant, content) VALUES ('{LETTER}', 'dev', '{{}}');
INSERT INTO mail.recipients (letter, number, tenant, address, name, domain, state, doubts)
VALUES ('{LETTER}', 0, 'dev', 'ada@example.com', 'Ada', 'example.com', 'sent', 1);
INSERT INTO mail.suppressions (tenant, address, reason) VALUES ('dev', 'gone@example.com', 'bounce');
INSERT INTO mail.templates (tenant, name, version, subject) VALUES ('dev', 'tides', 3, 'Tides');
INSERT INTO mail.deadlines (tenant, name, due_at, variables) VALUES ('dev', 'tender:7', now(), '{{}}');
INSERT INTO mail.followers (tenant, deadline, address, name, variables)
VALUES ('dev', 'tender:7', 'ada@example.com', 'Ada', '{{}}');
INSERT INTO ocr.documents (job_id, tenant, pages, pages_recognised) VALUES ('{JOB}', 'dev', 2, 1)
"""  # noqa: S608 - made of constants
TABLES = (
    *("identity.tenants", "identity.keys", "identity.limits", "ledger.jobs", "ledger.entries", "ledger.schedules"),
    *(
        "mail.letters",
        "mail.recipients",
        "mail.suppressions",
        "mail.templates",
        "mail.deadlines",
        "mail.followers",
    ),
    "ocr.documents",
)


async def test_what_was_there_at_the_release_is_there_after_the_last_migration(servers: Trio) -> None:
    address = servers.postgres.url
    connection = await asyncpg.connect(address)
    await connection.execute("CREATE DATABASE in_use")
    await connection.close()
    settings = DatabaseSettings.model_validate({"database_url": address.rpartition("/")[0] + "/in_use"})
    await asyncio.to_thread(upgrade, settings, revision=RELEASED)
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await connection.execute(IN_USE)
        before = {table: await _rows(connection, table) for table in TABLES}
        assert all(before.values())
        await asyncio.to_thread(upgrade, settings)
        for table in TABLES:
            kept = [
                {column: row.get(column) for column in was}
                for row, was in zip(await _rows(connection, table), before[table], strict=True)
            ]
            assert kept == before[table], table
    finally:
        await connection.close()


async def _rows(connection: Any, table: str) -> list[dict[str, Any]]:
    """Without what migrations make for the fleet itself."""
    rows = [dict(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")]  # noqa: S608
    return [row for row in rows if row.get("tenant") != FLEET_TENANT]


def test_the_release_is_one_of_the_migrations() -> None:
    versions = Path(__file__).parents[4] / "deploy" / "migrations" / "versions"
    assert [path.name for path in versions.glob(f"{RELEASED}_*.py")]
