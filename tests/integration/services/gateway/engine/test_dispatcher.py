"""Accepting jobs: safe first, and their tickets on the way as soon as there is room."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from deploy.local import servers as embedded
from deploy.local.test_servers import free_port, running
from libs.common import background, bus
from libs.common.bus import Bus
from libs.common.config import BusSettings
from libs.common.db import Database
from libs.common.ledger import jobs, queues, requeueing
from libs.common.ledger.jobs import NewJob
from services.gateway.engine.dispatcher import LARGE_PAYLOAD_BYTES, Dispatcher
from tests.polling import PATIENCE_S, until


def new(queue: str, **more: Any) -> NewJob:
    return NewJob("dev", "key", queue, "test", b"{}", **more)


async def ticketed(database: Database, job: NewJob) -> bool:
    """Whether its ticket has gone out."""
    rows = await database.fetch("SELECT ticketed_at IS NOT NULL FROM ledger.jobs WHERE id = $1", job.id)
    return bool(rows[0][0])


@pytest.fixture
async def dispatcher(database: Database, nats_bus: Bus, queue: str) -> AsyncIterator[Dispatcher]:
    """At work."""
    made = Dispatcher(database, nats_bus, [queue])
    async with background.alongside(background.optional(made.run())):
        yield made


async def test_what_is_accepted_is_in_the_ledger_whoever_runs(
    database: Database, nats_bus: Bus, queue: str
) -> None:
    """Nobody supplies the conveyor here, and still nothing is lost."""
    idle, job = Dispatcher(database, nats_bus, [queue]), new(queue)
    accepted = await idle.accept(job)
    assert accepted.id == job.id
    assert await jobs.find(database, "dev", job.id) is not None
    assert not await ticketed(database, job), "no room was ever seen"
    assert idle.last_success_s == float("inf")


async def test_a_waiting_job_gets_its_ticket(dispatcher: Dispatcher, database: Database, queue: str) -> None:
    job = new(queue)
    await dispatcher.accept(job)
    await until(lambda: ticketed(database, job))
    assert dispatcher.last_success_s < PATIENCE_S


async def test_a_stream_that_is_unavailable_stops_no_other_queue(database: Database, tmp_path: Path) -> None:
    """JetStream does not answer for a queue that this login has nothing to do with."""
    server = embedded.nats(tmp_path, free_port(), "secret")
    login = f"gateway:{embedded.password_of('gateway', 'secret')}"
    settings = BusSettings.model_validate({"nats_url": server.url.replace("argosy:secret", login)})
    with running(server, tmp_path):
        async with bus.connect(settings, "gateway") as gateway_bus:
            dispatcher, job = Dispatcher(database, gateway_bus, ["of_nobody", "ocr"]), new("ocr")
            with capture_logs() as lines:
                async with background.alongside(background.optional(dispatcher.run())):
                    await dispatcher.accept(job)
                    await until(lambda: ticketed(database, job))
                    await until(lambda: _said(lines, "dispatch.stream_unavailable"))
    assert {line["queue"] for line in lines if line["event"] == "dispatch.stream_unavailable"} == {"of_nobody"}


async def _said(lines: Sequence[Mapping[str, object]], event: str) -> bool:
    return any(line["event"] == event for line in lines)


async def test_the_same_key_accepted_at_once_is_one_job(dispatcher: Dispatcher, queue: str) -> None:
    same = [new(queue, idempotency_key="k", request_sha256=b"x") for _ in range(5)]
    accepted = await asyncio.gather(*(dispatcher.accept(job) for job in same))
    assert len({answer.id for answer in accepted}) == 1


async def test_nothing_goes_out_of_a_paused_queue(
    dispatcher: Dispatcher, database: Database, nats_bus: Bus, queue: str
) -> None:
    before, after = new(queue), new(queue)
    await dispatcher.accept(before)
    await until(lambda: ticketed(database, before))
    await queues.pause(database, queue)
    dispatcher.close_fast_path(queue)
    assert not dispatcher._queues[queue].fast_path
    await dispatcher.accept(after)
    looked = dispatcher._queues[queue].seen_at

    async def has_looked() -> bool:
        return dispatcher._queues[queue].seen_at > looked

    await until(has_looked)
    assert not await ticketed(database, after)
    await queues.resume(database, queue)
    await until(lambda: ticketed(database, after))


async def test_a_job_of_the_future_waits_for_its_time(
    dispatcher: Dispatcher, database: Database, queue: str
) -> None:
    (row,) = await database.fetch("SELECT now() + interval '1 hour'")
    job = new(queue, run_at=row[0])
    assert (await dispatcher.accept(job)).state == "scheduled"
    assert not await ticketed(database, job)
    await database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE id = $1", job.id)
    await until(lambda: ticketed(database, job))


async def test_a_bug_in_a_round_costs_that_round_only(
    dispatcher: Dispatcher, database: Database, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    async def fails(_database: Database) -> None:
        failed.set()
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(requeueing, "promote_due", fails)
        await failed.wait()
    job = new(queue)
    await dispatcher.accept(job)
    await until(lambda: ticketed(database, job))


async def test_a_queue_that_cannot_be_supplied_is_no_success(
    database: Database, nats_bus: Bus, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_database: Database, _queue: str) -> None:
        raise ZeroDivisionError

    made = Dispatcher(database, nats_bus, [queue])
    with monkeypatch.context() as broken:
        broken.setattr(requeueing, "demand", fails)
        await made._go_round()
    assert made.last_success_s == float("inf")
    await made._go_round()
    assert made.last_success_s < PATIENCE_S


async def test_a_large_job_is_committed_on_its_own(database: Database, nats_bus: Bus, queue: str) -> None:
    """So the others do not wait for it: what is committed together has the same time."""
    dispatcher = Dispatcher(database, nats_bus, [queue])
    large = NewJob("dev", "key", queue, "test", b'{"x": "%s"}' % (b"x" * LARGE_PAYLOAD_BYTES))
    accepted = await asyncio.gather(*map(dispatcher.accept, (new(queue), large, new(queue))))
    first, alone, second = (one.created_at for one in accepted)
    assert first == second != alone
