"""What the ledger's tables refuse, whoever writes."""

import asyncpg
import pytest
from sqlalchemy import Table

from libs.common.db import Database
from libs.common.ledger.jobs import State, new_id
from libs.common.ledger.schedules import CatchUp
from libs.common.ledger.tables import metadata
from tests.integration.libs.common.ledger.job_lifecycle import accepted, end, new_job


async def test_a_job_is_in_one_of_the_states_that_the_code_knows(database: Database) -> None:
    (job_id,) = await accepted(database, new_job())
    for state in State:
        await database.fetch("UPDATE ledger.jobs SET state = $2 WHERE id = $1", job_id, state.value)
    with pytest.raises(asyncpg.CheckViolationError):
        await database.fetch("UPDATE ledger.jobs SET state = 'lost' WHERE id = $1", job_id)


async def test_a_schedule_catches_up_in_one_of_the_ways_that_the_code_knows(database: Database) -> None:
    enter = (
        "INSERT INTO ledger.schedules (id, tenant, created_by, name, queue, kind, payload, fields, cron, timezone,"
        " catch_up) VALUES ($1, 'dev', 'key', $2, 'q', 'k', '{}', '{}', '* * * * *', 'UTC', $3)"
    )
    for way in CatchUp:
        await database.fetch(enter, new_id(), way.value, way.value)
    with pytest.raises(asyncpg.CheckViolationError):
        await database.fetch(enter, new_id(), "other", "never")
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.fetch(enter, new_id(), "all", "all")


async def test_two_unfinished_jobs_have_never_the_same_unique_key(database: Database) -> None:
    ended, job_id = await accepted(database, new_job(unique_key="daily"), new_job())
    await end(database, [ended], State.SUCCEEDED)
    take = "UPDATE ledger.jobs SET unique_key = 'daily' WHERE id = $1"
    await database.fetch(take, job_id)
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.fetch("UPDATE ledger.jobs SET state = 'queued' WHERE id = $1", ended)


async def test_entries_are_of_kinds_that_are_summed_up(database: Database) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await database.fetch("INSERT INTO ledger.entries VALUES ('q', 'lost', 1)")


@pytest.mark.parametrize("table", metadata.tables.values(), ids=lambda table: table.name)
async def test_the_ledger_has_this_table_with_these_columns(database: Database, table: Table) -> None:
    found = await database.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
        str(table),
    )
    assert {row[0] for row in found} == {column.name for column in table.columns}
