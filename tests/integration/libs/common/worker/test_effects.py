"""Effects end with their job or not at all, may add to its result, and hold up nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from libs.common import db
from libs.common.backoff import until_available
from libs.common.bus import Bus
from libs.common.config import DatabaseSettings
from libs.common.contracts.events import cancel_subject, encode_cancels
from libs.common.contracts.services import MAILER
from libs.common.db import Connection, Database, fetch_within
from libs.common.errors import Unavailable
from libs.common.ledger import claim as leases
from libs.common.ledger import job_actions
from libs.common.ledger.finish import Outcome
from libs.common.ledger.jobs import State, new_id
from libs.common.worker import effects as bounds
from libs.common.worker import lease
from libs.common.worker.effects import end_with_effects
from libs.common.worker.job import Done, Job
from tests.integration.libs.common.ledger.job_lifecycle import accepted, claimed, facts, new_job, worker
from tests.integration.libs.common.worker.working_fleet import Fleet, Payload
from tests.network import Network
from tests.polling import until

BLOCKED = """
SELECT pid, query_start FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%SET progress%'
"""


async def sleep_on_the_server(connection: Connection) -> None:
    await fetch_within(connection, "SELECT pg_sleep(600)")


async def sleep_between_statements(connection: Connection) -> None:
    await fetch_within(connection, "SELECT 1")
    await asyncio.Event().wait()


async def run_very_many_statements(connection: Connection) -> None:
    while True:
        await fetch_within(connection, "SELECT 1")


async def heartbeat(database: Database) -> datetime:
    ((at,),) = await database.fetch("SELECT max(heartbeat_at) FROM ledger.workers")
    assert isinstance(at, datetime)
    return at


def later_than(database: Database, moment: datetime) -> Callable[[], Awaitable[bool]]:
    """A probe: whether there was a heartbeat since then."""

    async def probe() -> bool:
        return await heartbeat(database) > moment

    return probe


async def three_more_heartbeats(database: Database) -> None:
    for _ in range(3):
        await until(later_than(database, await heartbeat(database)))


async def payload_of(database: Database, job_id: UUID) -> dict[str, Any]:
    ((payload,),) = await database.fetch("SELECT payload FROM ledger.jobs WHERE id = $1", job_id)
    return dict(payload)


async def test_what_effects_return_is_added_to_the_result(fleet: Fleet) -> None:
    await fleet.database.fetch("CREATE TABLE counted (n int)")

    async def handle(job: Job[Payload], _deps: None) -> Done:
        async def effects(connection: Connection) -> dict[str, Any] | None:
            rows = await fetch_within(connection, "INSERT INTO counted VALUES (1), (2) RETURNING n")
            return {"counted": len(rows)} if job.payload.do == "count" else None

        return Done({"of": 3, "counted": None}, effects=effects)

    counting, silent = await fleet.submit("count"), await fleet.submit()
    async with fleet.working(handle):
        assert (await fleet.ended(counting))["result"] == {"of": 3, "counted": 2}
        assert (await fleet.ended(silent))["result"] == {"of": 3, "counted": None}


async def test_effects_of_a_lost_attempt_are_undone(database: Database) -> None:
    await database.fetch("CREATE TABLE counted (n int)")
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())

    async def effects(connection: Connection) -> dict[str, Any]:
        await fetch_within(connection, "INSERT INTO counted VALUES (1)")
        return {"counted": 1}

    outcome, done = Outcome(claim.id, claim.attempt, State.SUCCEEDED, result={}), Done(effects=effects)
    assert await end_with_effects(database, new_id(), outcome, done) is False
    assert await database.fetch("SELECT FROM counted") == []
    assert await end_with_effects(database, worker_id, outcome, done) is True
    assert await end_with_effects(database, worker_id, outcome, done) is False
    assert len(await database.fetch("SELECT FROM counted")) == 1
    assert (await facts(database, claim.id))["result"] == {"counted": 1}


async def test_what_is_rolled_back_is_not_reported_as_written(fleet: Fleet) -> None:
    tries, written = list[int](), list[dict[str, Any]]()

    async def handle(_job: Job[Payload], _deps: None) -> Done:
        async def effects(connection: Connection) -> dict[str, Any]:
            tries.append(len(tries))
            await fetch_within(connection, "SELECT 1")
            if len(tries) == 1:
                raise Unavailable("The server went away before the commit.")
            return {"counted": len(tries)}

        return Done({"of": 3}, effects=effects, when_written=written.append)

    async with fleet.working(handle):
        assert (await fleet.ended(await fleet.submit()))["state"] == "succeeded"
    assert (tries, written) == ([0, 1], [{"of": 3, "counted": 2}])


async def test_effects_may_work_as_the_tenant_and_the_end_is_the_services(
    database: Database, mail_database: Database
) -> None:
    worker_id = await worker(mail_database, queue="mailer")
    (claim,) = await leases.claim(mail_database, worker_id, await accepted(database, new_job(queue="mailer")))
    seen: list[str] = []

    async def effects(connection: Connection) -> None:
        async with mail_database.as_tenant(connection, "dev"):
            seen.extend(row[0] for row in await fetch_within(connection, "SELECT current_user::text"))

    outcome = Outcome(claim.id, claim.attempt, State.SUCCEEDED)
    assert await end_with_effects(mail_database, worker_id, outcome, Done(effects=effects)) is True
    assert seen == [MAILER.role.of_a_tenant]


@pytest.mark.parametrize("effects", [sleep_on_the_server, sleep_between_statements, run_very_many_statements])
async def test_effects_that_take_too_long_fail_the_attempt_and_not_for_ever(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, effects: Callable[[Connection], Awaitable[None]]
) -> None:
    monkeypatch.setattr(bounds, "EFFECTS_WITHIN_S", 0.2)
    await fleet.database.fetch("CREATE TABLE counted (n int)")

    async def handle(job: Job[Payload], _deps: None) -> Done:
        async def count_slowly(connection: Connection) -> None:
            await fetch_within(connection, "INSERT INTO counted VALUES (1)")
            if job.payload.do == "sleep":
                await effects(connection)

        return Done(effects=count_slowly)

    slow = await fleet.submit("sleep", max_attempts=2)
    async with fleet.working(handle):
        ended = await fleet.ended(slow)
        assert (ended["state"], ended["attempt"], ended["failures"]) == ("failed", 2, 2)
        assert {error["code"] for error in ended["errors"]} == {"effects_too_slow"}
        assert await fleet.database.fetch("SELECT FROM counted") == []
        prompt = await fleet.submit()
        assert (await fleet.ended(prompt))["state"] == "succeeded"
    assert len(await fleet.database.fetch("SELECT FROM counted")) == 1


async def test_a_server_that_falls_silent_during_effects_costs_no_attempt(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "EFFECTS_WITHIN_S", 0.5)
    monkeypatch.setattr(db, "PROMPT_S", 0.5)
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())
    outcome = Outcome(claim.id, claim.attempt, State.SUCCEEDED)

    async def fall_silent(connection: Connection) -> None:
        network.hold_up()
        await fetch_within(connection, "SELECT 1")

    async with Network(database_url).open() as network:
        settings = DatabaseSettings.model_validate({"database_url": network.url})
        async with db.connect(settings, "worker", role=None) as behind:
            with pytest.raises(Unavailable):  # the runtime repeats the end, as with any other
                await end_with_effects(behind, worker_id, outcome, Done(effects=fall_silent))
            network.let_pass()
            done = Done()
            assert await until_available(lambda: end_with_effects(behind, worker_id, outcome, done)) is True
    assert (await facts(database, claim.id))["failures"] == 0


async def test_effects_that_sleep_hold_up_no_other_job_and_no_cancel(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_EVERY_S", 0.0)
    monkeypatch.setattr(bounds, "EFFECTS_WITHIN_S", 3600.0)
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def handle(job: Job[Payload], _deps: None) -> Done:
        async def effects(_connection: Connection) -> None:
            asleep.set()
            await awake.wait()

        if job.payload.do == "wait":
            job.progress(1, 2)
            await asyncio.Event().wait()
        return Done(effects=effects if job.payload.do == "sleep" else None)

    async with fleet.working(handle):
        sleeping, unwanted = await fleet.submit("sleep"), await fleet.submit("wait")
        await asleep.wait()
        await fleet.becomes(unwanted, "running")
        await three_more_heartbeats(fleet.database)
        neighbour = await fleet.ended(await fleet.submit())
        assert (neighbour["state"], neighbour["attempt"]) == ("succeeded", 1)
        for job_id in (sleeping, unwanted):
            (told,) = await job_actions.cancel(fleet.database, "dev", job_id)
            assert told.state == State.RUNNING
        await fleet.bus.publish(cancel_subject(fleet.queue), encode_cancels([sleeping, unwanted]))
        stopped = await fleet.ended(unwanted)
        assert (stopped["state"], stopped["attempt"]) == ("cancelled", 1)
        assert (await fleet.facts(sleeping))["state"] == "running", "its effects still sleep"
        awake.set()
        assert (await fleet.ended(sleeping))["state"] == "succeeded", "it had done its work"


async def test_the_heartbeat_waits_for_no_lock_of_a_job(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_EVERY_S", 0.0)
    monkeypatch.setattr(leases, "PROMPT_S", 3600.0)
    go_on = asyncio.Event()

    async def handle(job: Job[Payload], _deps: None) -> Done:
        while not go_on.is_set():
            job.progress(1, 2)
            await asyncio.sleep(0.05)
        return Done()

    async def blocked() -> list[Any]:
        return [tuple(row) for row in await fleet.database.fetch(BLOCKED)]

    async with fleet.working(handle):
        job_id = await fleet.submit()
        async with fleet.database.begin() as connection:
            await fleet.becomes(job_id, "running")
            await fetch_within(connection, "SET LOCAL idle_in_transaction_session_timeout = 0")
            await fetch_within(connection, "SELECT FROM ledger.jobs WHERE id = $1 FOR UPDATE", job_id)
            waiting = await until(blocked)
            await three_more_heartbeats(fleet.database)
            assert await blocked() == waiting, "the same statement still waits"
        go_on.set()
        ended = await fleet.ended(job_id)
    assert (ended["state"], ended["attempt"], ended["failures"]) == ("succeeded", 1, 0)


async def test_effects_leave_connections_to_heartbeats_and_claims(
    fleet: Fleet, database_url: str, nats_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_EVERY_S", 0.0)
    monkeypatch.setattr(bounds, "EFFECTS_WITHIN_S", 3600.0)
    awake, returned, sleeping = asyncio.Event(), 0, 0

    async def handle(job: Job[Payload], _deps: None) -> Done:
        async def effects(_connection: Connection) -> None:
            nonlocal sleeping
            sleeping += 1
            await awake.wait()

        nonlocal returned
        returned += 1
        return Done(effects=effects if job.payload.do == "sleep" else None)

    async def all_have_returned() -> bool:
        return returned == 8

    few = DatabaseSettings.model_validate({"database_url": database_url, "db_max_connections": 4})
    async with (
        db.connect(few, "worker", role=None) as small,
        Fleet(small, nats_bus, fleet.queue).working(handle, slots=4),
    ):
        ids = [await fleet.submit("sleep") for _ in range(8)]
        await until(all_have_returned)
        await three_more_heartbeats(fleet.database)
        assert (await fleet.ended(await fleet.submit()))["state"] == "succeeded"
        assert sleeping == 2, "of four connections, two are left"
        awake.set()
        assert {(await fleet.ended(job_id))["attempt"] for job_id in ids} == {1}


async def test_a_payload_that_nobody_needs_is_forgotten_with_the_end(fleet: Fleet) -> None:
    async def handle(job: Job[Payload], _deps: None) -> Done:
        async def effects(_connection: Connection) -> dict[str, Any]:
            if job.payload.do == "break":
                raise ValueError
            return {"counted": 1}

        return Done(
            effects=None if job.payload.do == "plain" else effects, forget_payload=job.payload.do != "keep"
        )

    ids = {do: await fleet.submit(do, max_attempts=1) for do in ("count", "plain", "break", "keep")}
    async with fleet.working(handle):
        states = {do: (await fleet.ended(job_id))["state"] for do, job_id in ids.items()}
    assert states == {"count": "succeeded", "plain": "succeeded", "break": "failed", "keep": "succeeded"}
    payloads = {do: await payload_of(fleet.database, job_id) for do, job_id in ids.items()}
    assert payloads == {"count": {}, "plain": {}, "break": {"do": "break"}, "keep": {"do": "keep"}}
