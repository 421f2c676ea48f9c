"""Accounting: what was accepted less what ended is what there is."""

import asyncio

from libs.common.db import Database
from libs.common.ledger import consistency_check, job_actions, retention
from libs.common.ledger.jobs import State
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    end,
    new_job,
    unaccounted,
)


async def test_the_books_notice_a_job_that_vanishes_or_ends_twice(database: Database) -> None:
    (job_id, other) = await accepted(database, new_job(), new_job())
    await database.fetch("DELETE FROM ledger.jobs WHERE id = $1", job_id)
    assert await unaccounted(database) == {"q": 1}
    await end(database, [other], State.SUCCEEDED)
    await database.fetch("UPDATE ledger.jobs SET state = 'queued', finished_at = NULL WHERE id = $1", other)
    await end(database, [other], State.SUCCEEDED)
    assert await unaccounted(database) == {"q": 0}  # one too few, one too many
    await consistency_check.compact_entries(database)
    (row,) = await database.fetch("SELECT count(*) FROM ledger.entries")
    assert row[0] == 2


async def test_a_budget_is_kept_by_many_gateways_together(database: Database) -> None:
    ids = await accepted(database, *(new_job(bytes=1000) for _ in range(30)))
    await end(database, ids, State.SUCCEEDED)
    assert await consistency_check.stored_bytes(database) == 30_000
    assert await retention.remove_ended_jobs(database, older_than_s=0, limit=10) == 10
    assert await consistency_check.stored_bytes(database) == 20_000


async def test_compacting_while_others_write_loses_nothing(database: Database) -> None:
    await accepted(database, *(new_job(bytes=1) for _ in range(20)))
    await asyncio.gather(
        *(consistency_check.compact_entries(database) for _ in range(5)),
        *(accepted(database, new_job(bytes=1)) for _ in range(20)),
    )
    await consistency_check.compact_entries(database)
    assert await consistency_check.stored_bytes(database) == 40
    (account,) = await consistency_check.balance(database)
    assert (account["accepted"], account["queued"], account["unaccounted"]) == (40, 40, 0)
    assert (await database.fetch("SELECT count(*) FROM ledger.entries"))[0][0] == 2


async def test_a_retry_takes_its_end_back(database: Database) -> None:
    ids = await accepted(database, new_job(), new_job())
    await end(database, ids, State.FAILED)
    await job_actions.retry(database, "dev", ids[0])
    (account,) = await consistency_check.balance(database)
    assert [account[what] for what in ("accepted", "ended", "queued", "unaccounted")] == [2, 1, 1, 0]
    assert account["oldest_waiting_s"] >= 0
