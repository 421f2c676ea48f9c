"""Accepting jobs: the same request is one job, however often and at once it comes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from libs.common.db import Database
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, State
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    end,
    new_job,
    unaccounted,
)


async def test_accepting_the_same_jobs_again_changes_nothing(database: Database) -> None:
    batch = [new_job(), new_job(tags=("a", "b"))]
    first = await accept(database, batch, ticketed=[True, True])
    again = await accept(database, [*batch, new_job()], ticketed=[True, True, True])
    assert again[:2] == first
    assert [row[0] for row in await database.fetch("SELECT count(*) FROM ledger.jobs")] == [3]


async def test_accept_answers_in_the_order_asked(database: Database) -> None:
    batch = [new_job() for _ in range(50)]
    batch.reverse()
    answers = await accept(database, batch, ticketed=[False] * 50)
    assert [answer.id for answer in answers] == [job.id for job in batch]


async def test_the_same_request_is_one_job_however_often_and_at_once_it_comes(database: Database) -> None:
    def again() -> NewJob:
        return new_job(idempotency_key="once", request_sha256=b"x")

    answers = await asyncio.gather(*(accepted(database, again(), new_job(), again()) for _ in range(20)))
    assert len({answer[0] for answer in answers} | {answer[2] for answer in answers}) == 1
    (row,) = await database.fetch("SELECT count(*) FROM ledger.jobs WHERE idempotency_key = 'once'")
    assert row[0] == 1
    (elsewhere,) = await accepted(database, new_job(tenant="other", idempotency_key="once"))
    assert elsewhere not in {answer[0] for answer in answers}
    assert await unaccounted(database) == {"q": 0}


async def test_unique_for_lasts_as_long_as_the_job(database: Database) -> None:
    (first,) = await accepted(database, new_job(unique_key="daily"))
    assert await accepted(database, new_job(unique_key="daily")) == [first]
    await end(database, [first], State.SUCCEEDED)
    (second,) = await accepted(database, new_job(unique_key="daily"))
    assert second != first


async def test_a_job_for_later_waits_without_a_ticket_and_one_for_the_past_is_due(database: Database) -> None:
    now = datetime.now(UTC)
    later, past = new_job(run_at=now + timedelta(hours=1)), new_job(run_at=now - timedelta(hours=1))
    answers = await accept(database, [later, past], ticketed=[True, True])
    assert [answer.state for answer in answers] == ["scheduled", "queued"]
    assert [answer.due_at for answer in answers] == [later.run_at, past.run_at]
    (row,) = await database.fetch("SELECT ticketed_at FROM ledger.jobs WHERE id = $1", later.id)
    assert row[0] is None


async def test_the_answer_tells_of_which_request_the_job_that_was_there_came(
    database: Database,
) -> None:
    first = new_job(idempotency_key="once", request_sha256=b"one request")
    await accept(database, [first], ticketed=[False])
    other = new_job(idempotency_key="once", request_sha256=b"another request")
    (answer,) = await accept(database, [other], ticketed=[False])
    assert (answer.id, answer.request_sha256) == (first.id, b"one request")


async def test_a_unique_job_is_one_in_its_queue_and_of_its_tenant(database: Database) -> None:
    jobs = [new_job(unique_key="daily", **facts) for facts in ({}, {"queue": "other"}, {"tenant": "other"})]
    assert await accepted(database, *jobs) == [job.id for job in jobs]
    assert await unaccounted(database) == {"q": 0, "other": 0}


async def test_without_a_mark_for_each_job_none_is_entered(database: Database) -> None:
    with pytest.raises(ValueError, match="shorter"):
        await accept(database, [new_job(), new_job()], ticketed=[True])
    assert await database.fetch("SELECT FROM ledger.jobs") == []
