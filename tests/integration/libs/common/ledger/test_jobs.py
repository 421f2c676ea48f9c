"""Jobs read back: each tenant its own, page by page."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from libs.common.db import Database, fetch_within
from libs.common.ledger import jobs
from libs.common.ledger.jobs import Filter, State, new_id
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    end,
    new_job,
)


async def test_tenants_do_not_see_each_others_jobs(database: Database) -> None:
    mine, theirs = await accepted(database, new_job(), new_job(tenant="other"))
    assert await jobs.find(database, "dev", theirs) is None
    assert [facts["id"] for facts in await jobs.page(database, "dev", Filter())] == [mine]


async def test_pages_are_newest_first_and_complete(database: Database) -> None:
    ids = await accepted(database, *(new_job(tags=("odd",) if number % 2 else ()) for number in range(7)))
    seen: list[UUID] = []
    before = None
    while page := await jobs.page(database, "dev", Filter(), before=before, limit=3):
        seen += [facts["id"] for facts in page]
        before = seen[-1]
    assert seen == sorted(ids, reverse=True)
    assert len(await jobs.page(database, "dev", Filter(tag="odd"))) == 3
    assert len(await jobs.page(database, "dev", Filter(states=(State.RUNNING,)))) == 0
    assert len(await jobs.page(database, "dev", Filter(queue="elsewhere"))) == 0


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (Filter(), [0, 1, 2, 3]),
        (Filter(queue="q2"), [1]),
        (Filter(kind="k2"), [2]),
        (Filter(tag="a"), [0]),
        (Filter(tag='b"]'), [1]),
        (Filter(states=(State.FAILED,)), [3]),
        (Filter(states=(State.FAILED, State.QUEUED), error_code="bad"), [3]),
        (Filter(error_code="' OR true --"), []),
        (Filter(queue="q", kind="k", tag="a"), [0]),
        (Filter(created_before=datetime(2020, 1, 1, tzinfo=UTC)), []),
        (Filter(created_after=datetime(2020, 1, 1, tzinfo=UTC)), [0, 1, 2, 3]),
    ],
)
async def test_a_filter_means_these_and_no_others(database: Database, wanted: Filter, meant: list[int]) -> None:
    ids = await accepted(
        database, new_job(tags=("a",)), new_job(queue="q2", tags=('b"]',)), new_job(kind="k2"), new_job()
    )
    await end(database, ids[3:], State.FAILED, code="bad")
    found = await jobs.page(database, "dev", wanted)
    assert [one["id"] for one in found] == [ids[number] for number in reversed(meant)]


async def test_jobs_of_a_queue_that_is_not_listed_are_meant_where_it_is_named(database: Database) -> None:
    (parent,) = await accepted(database, new_job())
    (events,) = await accepted(database, new_job(queue="analytics"))
    (child,) = await accepted(database, new_job(queue="analytics"))
    await database.fetch("UPDATE ledger.jobs SET parent = $1 WHERE id = $2", parent, child)

    async def meant(wanted: Filter) -> list[UUID]:
        return [one["id"] for one in await jobs.page(database, "dev", wanted)]

    for wanted in (Filter(), Filter(kind="k"), Filter(states=(State.QUEUED,)), Filter(queue="q")):
        assert await meant(wanted) == [parent]
    assert await meant(Filter(queue="analytics")) == [events]
    assert await meant(Filter(parent=parent)) == [child]


@pytest.mark.parametrize("wanted", [Filter(), Filter(queue="q"), Filter(queue="analytics")], ids=str)
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_a_list_reads_no_jobs_that_it_does_not_show(database: Database, wanted: Filter, mode: str) -> None:
    """However many jobs with events there are; and those are found as quickly among others."""
    many, few = ("q", "analytics") if wanted.queue == "analytics" else ("analytics", "q")
    await accepted(database, *(new_job(queue=few) for _ in range(5)))
    await accepted(database, *(new_job(queue=many) for _ in range(2000)))
    condition, values = wanted.condition("dev")
    sql = f"SELECT id FROM ledger.jobs WHERE {condition} ORDER BY id DESC LIMIT 5"  # noqa: S608
    async with database.begin() as connection:
        await fetch_within(connection, f"SET LOCAL plan_cache_mode = {mode}")
        explain = f"EXPLAIN (ANALYZE, COSTS OFF, FORMAT JSON) {sql}"
        ((document,),) = await fetch_within(connection, explain, *values)
    plan = str(document)
    assert "jobs_of_events" in plan or "jobs_by_tenant" in plan
    assert "'Rows Removed by Filter'" not in plan or "'Rows Removed by Filter': 0" in plan
    assert "'Actual Rows': 5" in plan


async def test_a_payload_is_given_to_its_tenant_and_for_its_queue_only(database: Database) -> None:
    (job_id,) = await accepted(database, new_job(payload=b'{"n": %d}' % 2**100))
    assert await jobs.payload(database, "dev", job_id, queue="q") == {"n": 2**100}
    assert await jobs.payload(database, "dev", job_id, queue="other") is None
    assert await jobs.payload(database, "other", job_id, queue="q") is None


async def test_many_are_read_at_once_and_their_versions_change_with_them(database: Database) -> None:
    ids = await accepted(database, new_job(), new_job(tenant="other"))
    assert set(await jobs.read(database, [*ids, new_id()])) == set(ids)
    before = {version[0]: version for version in await jobs.versions(database, ids)}
    assert before[ids[0]] == (ids[0], "queued", 0, 0, None)
    await end(database, ids[:1], State.FAILED)
    after = {version[0]: version for version in await jobs.versions(database, ids)}
    assert after[ids[0]] == (ids[0], "failed", 1, 1, None)
    assert after[ids[1]] == before[ids[1]]


async def test_the_error_is_the_last_one_and_none_where_it_went_well_in_the_end(database: Database) -> None:
    (job_id,) = await accepted(database, new_job(max_attempts=9))
    await end(database, [job_id], State.FAILED, code="bad")
    error = (await jobs.read(database, [job_id]))[job_id]["error"]
    assert error is not None
    assert error["code"] == "bad"
    await database.fetch("UPDATE ledger.jobs SET state = 'queued', finished_at = NULL")
    await end(database, [job_id], State.SUCCEEDED)
    assert (await jobs.read(database, [job_id]))[job_id]["error"] is None
