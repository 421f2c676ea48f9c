"""Queues as people see and steer them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from libs.common.db import Database
from libs.common.ledger import queues
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import State
from tests.integration.libs.common.ledger.job_lifecycle import accepted, claimed, end, new_job, worker


async def overview(database: Database, name: str = "q") -> dict[str, Any]:
    (found,) = await queues.overview(database, [name])
    return found


async def ticketed(database: Database) -> int:
    (row,) = await database.fetch("SELECT count(*) FROM ledger.jobs WHERE ticketed_at IS NOT NULL")
    return int(row[0])


async def test_an_overview_counts_what_waits_and_who_works(database: Database) -> None:
    worker_id = await worker(database, slots=3)
    await claimed(database, worker_id, new_job())
    await accept(database, [new_job(run_at=datetime.now(UTC) + timedelta(hours=1))], ticketed=[False])
    await end(database, await accepted(database, new_job(), new_job()), State.FAILED)
    await accepted(database, new_job(), new_job(), new_job(queue="other"))
    found = await overview(database)
    counts = {
        "scheduled": 1,
        "queued": 2,
        "running": 1,
        "waiting": 0,
        "ended_last_minute": 2,
        "workers": 2,
        "slots": 12,
    }
    assert found.items() >= counts.items()
    assert found["oldest_waiting_at"] is not None


async def test_each_queue_asked_for_is_told_even_if_it_was_never_used(database: Database) -> None:
    found = {one["name"]: one for one in await queues.overview(database, ["a", "never", "b"])}
    assert set(found) == {"a", "never", "b"}
    assert found["never"]["queued"] == found["never"]["workers"] == 0
    assert found["never"]["oldest_waiting_at"] is found["never"]["paused_at"] is None


async def test_a_pause_lasts_from_its_first_call_to_the_resume(database: Database) -> None:
    await accepted(database, new_job(), new_job(queue="other"))
    await queues.pause(database, "q")
    since = (await overview(database))["paused_at"]
    await queues.pause(database, "q")
    assert (await overview(database))["paused_at"] == since
    assert await ticketed(database) == 1, "the other queue's ticket is still out"
    for _ in range(2):
        await queues.resume(database, "q")
        assert (await overview(database))["paused_at"] is None


async def test_caps_are_apart_and_can_be_taken_off(database: Database) -> None:
    await accepted(database, new_job())
    await queues.set_cap(database, "q", "max_running", 5)
    assert await ticketed(database) == 0, "its ticket is called in, to be given out within the cap"
    await queues.set_cap(database, "q", "max_running_per_tenant", 2)
    found = await overview(database)
    assert (found["max_running"], found["max_running_per_tenant"]) == (5, 2)
    await queues.set_cap(database, "q", "max_running", None)
    found = await overview(database)
    assert (found["max_running"], found["max_running_per_tenant"]) == (None, 2)
