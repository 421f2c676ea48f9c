"""Old jobs go, and the folders that nobody needs any more."""

from libs.common.db import Database
from libs.common.ledger import accounting, retention
from libs.common.ledger.jobs import State
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    end,
    facts,
    new_job,
)


async def test_old_jobs_are_struck_off_and_their_folders_noted(database: Database) -> None:
    old, young = await accepted(database, new_job(bytes=10), new_job(bytes=5))
    (waiting,) = await accepted(database, new_job(bytes=1))
    await end(database, [old, young], State.SUCCEEDED)
    await database.fetch("UPDATE ledger.jobs SET finished_at = now() - interval '2 days' WHERE id = $1", old)
    assert await retention.remove_ended_jobs(database, older_than_s=86400, limit=10) == 1
    assert await retention.unneeded_folders(database, 10) == [f"jobs/dev/{old.hex}"]
    assert await retention.remove_ended_jobs(database, older_than_s=0, limit=10) == 1
    assert (await facts(database, waiting))["state"] == "queued"
    (account,) = await accounting.balance(database)
    assert (account["bytes"], account["unaccounted"]) == (1, 0)
