"""Old jobs go, and the folders that nobody needs any more."""

from libs.common.blobs import job_folder
from libs.common.db import Database
from libs.common.ledger import consistency_check, retention
from libs.common.ledger.jobs import State, new_id
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
    (account,) = await consistency_check.balance(database)
    assert (account["bytes"], account["unaccounted"]) == (1, 0)


async def test_the_oldest_go_first_and_no_more_than_so_many(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(3)))
    await end(database, ids, State.FAILED)
    for age, job_id in enumerate(ids):
        await database.fetch(
            "UPDATE ledger.jobs SET finished_at = now() - $2 * interval '1 day' WHERE id = $1", job_id, age + 1
        )
    assert await retention.remove_ended_jobs(database, older_than_s=0, limit=2) == 2
    assert [row[0] for row in await database.fetch("SELECT id FROM ledger.jobs")] == [ids[0]]


async def test_an_upload_that_no_job_came_for_goes_after_a_while(database: Database) -> None:
    unclaimed, claimed, young = new_job(), new_job(), new_job()
    for job in (unclaimed, claimed, young):
        await retention.announce_upload(database, job.id, f"jobs/dev/{job.id.hex}")
    await accepted(database, claimed)
    assert await retention.mark_unclaimed_uploads(database, 10) == 0
    await database.fetch(
        "UPDATE ledger.uploads SET announced_at = now() - interval '2 hours' WHERE owner <> $1", young.id
    )
    assert await retention.mark_unclaimed_uploads(database, 10) == 2
    assert await retention.unneeded_folders(database, 10) == [f"jobs/dev/{unclaimed.id.hex}"]
    assert await retention.mark_unclaimed_uploads(database, 10) == 0


async def test_a_schedules_folder_stays_until_the_last_of_its_jobs_has_ended(database: Database) -> None:
    schedule = new_id()
    ids = await accepted(database, new_job(schedule=schedule), new_job(schedule=schedule))
    await retention.mark_schedule_folder(database, "schedules/dev/1", schedule)
    await end(database, ids[:1], State.SUCCEEDED)
    assert await retention.unneeded_folders(database, 10) == []
    await end(database, ids[1:], State.FAILED)
    assert await retention.unneeded_folders(database, 10) == ["schedules/dev/1"]
    await retention.forget_folders(database, ["schedules/dev/1", "never/there"])
    assert await retention.unneeded_folders(database, 10) == []


async def test_the_folder_of_a_job_is_where_the_blob_store_has_it(database: Database) -> None:
    (job_id,) = await accepted(database, new_job(bytes=1))
    await end(database, [job_id], State.SUCCEEDED)
    await database.fetch("UPDATE ledger.jobs SET finished_at = now() - interval '1 day'")
    await retention.remove_ended_jobs(database, older_than_s=0, limit=1)
    assert await retention.unneeded_folders(database, 10) == [job_folder("dev", job_id)]
