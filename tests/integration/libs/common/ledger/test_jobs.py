"""Jobs read back: each tenant its own, page by page."""

from uuid import UUID

from libs.common.db import Database
from libs.common.ledger import jobs
from libs.common.ledger.jobs import Filter, State
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
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
