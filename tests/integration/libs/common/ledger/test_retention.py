"""Old jobs go, and the folders that nobody needs any more."""

from uuid import UUID

from libs.common.blobs import job_folder
from libs.common.db import Database, fetch_within
from libs.common.ledger import consistency_check, retention
from libs.common.ledger.jobs import State, new_id
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    end,
    facts,
    new_job,
)
from tests.integration.libs.common.ledger.test_plans import nodes


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


async def test_what_has_succeeded_may_go_earlier_by_queue_and_what_has_failed_stays(database: Database) -> None:
    ended: dict[tuple[str, State, int], UUID] = {}
    for queue in ("a", "b"):
        for state in (State.SUCCEEDED, State.FAILED):
            for days in (0, 2, 31):
                (job_id,) = await accepted(database, new_job(queue=queue))
                await end(database, [job_id], state)
                await database.fetch(
                    "UPDATE ledger.jobs SET finished_at = now() - $2 * interval '1 day' WHERE id = $1",
                    job_id,
                    days,
                )
                ended[queue, state, days] = job_id
    day_s = 86_400.0

    async def remove(limit: int) -> int:
        return await retention.remove_ended_jobs(
            database, older_than_s=30 * day_s, succeeded_older_than_s={"a": day_s, "gone": day_s}, limit=limit
        )

    assert [await remove(4), await remove(4), await remove(4)] == [4, 1, 0]
    left = {row[0] for row in await database.fetch("SELECT id FROM ledger.jobs")}
    gone = {what for what, job_id in ended.items() if job_id not in left}
    assert gone == {(queue, state, 31) for queue, state, _ in ended} | {("a", State.SUCCEEDED, 2)}


async def test_the_oldest_of_all_queues_go_first(database: Database) -> None:
    ids = await accepted(database, *(new_job(queue=queue) for queue in ("a", "b", "a", "b")))
    await end(database, ids, State.SUCCEEDED)
    for age, job_id in enumerate(ids, 1):
        await database.fetch(
            "UPDATE ledger.jobs SET finished_at = now() - $2 * interval '1 day' WHERE id = $1", job_id, age
        )
    assert await retention.remove_ended_jobs(database, older_than_s=0, limit=2) == 2
    assert {row[0] for row in await database.fetch("SELECT id FROM ledger.jobs")} == set(ids[:2])


async def test_it_reads_only_what_it_may_remove(database: Database) -> None:
    """By the index, however many jobs are younger, and without sorting them."""
    values = 86_400.0, 10, retention.CHILDREN_AT_A_TIME, ["a"], [3600.0]
    async with database.begin() as connection:
        ((plan,),) = await fetch_within(
            connection, f"EXPLAIN (COSTS OFF, FORMAT JSON) {retention._REMOVE_ENDED}", *values
        )
    scans = [node for node in nodes(plan[0]["Plan"]) if node.get("Index Name") == "jobs_finished"]
    conditions = [scan["Index Cond"] for scan in scans if "finished_at <" in scan.get("Index Cond", "")]
    assert len(conditions) == 1
    assert "queue =" in conditions[0]
    assert all(
        node.get("Relation Name") != "jobs" for node in nodes(plan[0]["Plan"]) if "Seq" in node["Node Type"]
    )
