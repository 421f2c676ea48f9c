"""The kit that services' tests are made with."""

from pydantic import BaseModel

from libs.common.bus import Bus
from libs.common.db import Database
from libs.common.errors import Reject, Retry
from libs.common.handler_testkit import drain, enqueued, run_inline
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, find
from libs.common.worker.job import Done, Job, Snooze


class Order(BaseModel):
    """How many more jobs this one leads to."""

    more: int = 0


async def handle(job: Job[Order], database: Database | None) -> Done:
    job.progress(1, 1)
    if job.payload.more < 0:
        raise Reject("Less than nothing.")
    if job.payload.more and database is not None:
        smaller = Order(more=job.payload.more - 1).model_dump_json().encode()
        await accept(database, [NewJob(job.tenant, "job", "chain", "link", smaller)], ticketed=[False])
    return Done({"more": job.payload.more})


async def test_run_inline_gives_result_and_progress() -> None:
    ran = await run_inline(handle, Order(more=0), None)
    assert (ran.done.result, ran.progress) == ({"more": 0}, [{"done": 1, "total": 1, "note": None}])


async def test_drain_runs_what_waits_and_what_follows_from_it(database: Database, nats_bus: Bus) -> None:
    first = NewJob("dev", "key", "chain", "link", b'{"more": 3}')
    bad = NewJob("dev", "key", "chain", "link", b'{"more": -1}')
    await accept(database, [first, bad], ticketed=[False, False])
    assert [job["payload"] for job in await enqueued(database, queue="chain")] == [{"more": 3}, {"more": -1}]
    assert await enqueued(database, queue="elsewhere") == []
    assert await drain(database, nats_bus, "chain", Order, handle, database) == 5
    assert await enqueued(database, queue="chain") == []
    refused = await find(database, "dev", bad.id)
    assert refused is not None
    assert refused["state"] == "failed"


async def test_a_job_that_is_put_off_costs_no_retry(database: Database, nats_bus: Bus) -> None:
    """And has all of them again: it may be put off, and fail in between, as often as it likes."""
    patient = NewJob("dev", "key", "patience", "wait", b"{}", max_attempts=2)
    runs = 0

    async def handle_at_the_sixth(_job: Job[Order], _deps: None) -> Done | Snooze:
        nonlocal runs
        runs += 1
        if runs % 2:
            raise Retry(after=0)
        return Done({"runs": runs}) if runs == 6 else Snooze(0)

    await accept(database, [patient], ticketed=[False])
    while await enqueued(database, queue="patience"):
        await drain(database, nats_bus, "patience", Order, handle_at_the_sixth, None)
    ended = await find(database, "dev", patient.id)
    assert ended is not None
    assert (ended["state"], ended["result"], ended["failures"]) == ("succeeded", {"runs": 6}, 1)
