"""Requests with events share jobs: no more than the timer allows, and everyone is told what became of theirs."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.analytics import EVENTS_AT_MOST, AnalyticsPayload, EventsPayload
from libs.common.errors import Unavailable
from libs.common.ledger.accept import Accepted
from libs.common.ledger.jobs import NewJob, State
from services.gateway.engine import event_intake
from services.gateway.engine.event_intake import EventIntake, Events
from services.gateway.problems import Overloaded
from tests.polling import until

NEVER_S = 1e6
NOW = datetime.now(UTC)


class Ledger:
    """Commits jobs when `open` is set."""

    def __init__(self) -> None:
        self.jobs: list[NewJob] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def accept(self, job: NewJob) -> Accepted:
        self.jobs.append(job)
        await self.open.wait()
        if self.error or b'"bad"' in job.payload:
            raise self.error or ValueError("bad")
        return Accepted(job.id, State.QUEUED, NOW, NOW, None, None)

    @property
    def events(self) -> list[list[Any]]:
        """The events of each job."""
        return [json.loads(job.payload)["events"] for job in self.jobs]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def intake(ledger: Ledger) -> AsyncIterator[EventIntake]:
    made = EventIntake(ledger.accept)
    async with made.running():
        yield made


def events(*numbers: Any, tenant: str = "acme") -> Events:
    text = ",".join(map(json.dumps, numbers)).encode()
    return Events(tenant, "key", len(numbers), text, "00-trace", received_at=NOW)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a whole job, or the end, is reason to commit before."""
    monkeypatch.setattr(event_intake, "LINGER_S", NEVER_S)


@pytest.mark.usefixtures("patient")
async def test_the_first_does_not_wait_and_the_next_linger_until_a_job_is_whole(
    ledger: Ledger, intake: EventIntake
) -> None:
    first = await intake(events(0))
    waiting = [intake(events(number)) for number in range(1, EVENTS_AT_MOST)]
    await turns()
    assert ledger.events == [[0]]
    assert not any(future.done() for future in waiting)
    whole = {*await asyncio.gather(*waiting, intake(events(EVENTS_AT_MOST)))}
    assert ledger.events == [[0], list(range(1, EVENTS_AT_MOST + 1))]
    assert {first, *whole} == {job.id for job in ledger.jobs}


async def test_a_job_is_what_the_worker_reads(ledger: Ledger, intake: EventIntake) -> None:
    job_id = await intake(events({"id": "☂"}, 7))
    (job,) = ledger.jobs
    assert (job.id, job.tenant, job.created_by, job.queue) == (job_id, "acme", "key", "analytics")
    assert (job.kind, job.trace) == ("events", "00-trace")
    payload = AnalyticsPayload.model_validate_json(job.payload).root
    assert isinstance(payload, EventsPayload)
    assert (payload.kind, payload.received_at, payload.events) == (job.kind, NOW, [{"id": "☂"}, 7])


async def test_what_comes_while_a_job_is_committed_goes_together(
    ledger: Ledger, intake: EventIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a commit takes: a tenant has one at a time."""
    monkeypatch.setattr(event_intake, "LINGER_S", 0.0)
    ledger.open.clear()
    first = intake(events(1))
    await turns()
    rest = [intake(events(number)) for number in range(2, 50)]
    await turns()
    assert ledger.events == [[1]]
    ledger.open.set()
    await asyncio.gather(first, *rest)
    assert ledger.events == [[1], list(range(2, 50))]


async def test_jobs_are_no_more_than_the_timer_allows(ledger: Ledger, intake: EventIntake) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(7):
        await intake(events(number))
    allowed = (loop.time() - begun) / event_intake.LINGER_S + 1
    assert len(ledger.jobs) <= allowed
    assert [event for job in ledger.events for event in job] == list(range(7))


@pytest.mark.usefixtures("patient")
async def test_a_job_is_never_larger_than_allowed_and_no_request_is_split(
    ledger: Ledger, intake: EventIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_intake, "JOB_BYTES", 4000)
    ledger.open.clear()
    futures = [intake(events(0))]
    await turns()
    sizes = (600, 500, 400, 1000, 1, 999)
    futures += [intake(events(*[0] * size)) for size in sizes]
    futures += [intake(events("x" * 5000)), intake(events("x" * 3000)), intake(events("x" * 2000))]
    ledger.open.set()
    await asyncio.gather(*futures[:-1])
    assert [len(job) for job in ledger.events] == [1, 600, 900, 1000, 1000, 1, 1]
    assert not futures[-1].done(), "it lingers"


@pytest.mark.usefixtures("patient")
async def test_at_the_end_what_lingers_is_committed_and_answered(ledger: Ledger) -> None:
    intake = EventIntake(ledger.accept)
    async with intake.running():
        await intake(events(0))
        futures = [intake(events(number, tenant=tenant)) for number in (1, 2) for tenant in ("acme", "other")]
        await turns()
        futures.append(intake(events(3, tenant="other")))
    assert all(future.done() for future in futures)
    assert {await future for future in futures} <= {job.id for job in ledger.jobs}
    assert sorted(event for job in ledger.events for event in job) == [0, 1, 1, 2, 2, 3]


@pytest.mark.usefixtures("patient")
async def test_a_tenant_with_very_many_does_not_delay_another(ledger: Ledger, intake: EventIntake) -> None:
    """It has one job on its way, so the other's is behind one at most."""
    ledger.open.clear()
    many = [intake(events(*[0] * EVENTS_AT_MOST, tenant="huge")) for _ in range(30)]
    await turns()
    one = intake(events(7, tenant="small"))
    await turns()
    assert [job.tenant for job in ledger.jobs] == ["huge", "small"]
    ledger.open.set()
    await asyncio.gather(one, *many)
    assert len(ledger.jobs) == 31


@pytest.mark.usefixtures("patient")
async def test_an_outage_is_told_to_all_whose_events_it_concerns(ledger: Ledger, intake: EventIntake) -> None:
    ledger.open.clear()
    first = intake(events(0))
    await turns()
    second, third = (intake(events(*[0] * (EVENTS_AT_MOST // 2))) for _ in range(2))
    ledger.error = Unavailable("gone")
    ledger.open.set()
    answers = await asyncio.gather(first, second, third, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert len(ledger.jobs) == 2, "one try for all"
    ledger.error = None
    for _ in range(2):
        answered = intake(events(*[0] * EVENTS_AT_MOST))
        assert isinstance(await answered, UUID), "it goes on"


@pytest.mark.usefixtures("patient")
async def test_a_request_that_is_refused_costs_no_other(ledger: Ledger, intake: EventIntake) -> None:
    ledger.open.clear()
    futures = [intake(events(0))]
    await turns()
    futures += [intake(events(1)), intake(events("bad")), intake(events(*range(EVENTS_AT_MOST - 2)))]
    ledger.open.set()
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(answer) for answer in answers] == [UUID, UUID, ValueError, UUID]


@pytest.mark.usefixtures("patient")
async def test_a_caller_that_has_left_holds_up_nobody(intake: EventIntake) -> None:
    await intake(events(0))
    left = intake(events(1))
    left.cancel()
    assert isinstance(await intake(events(*[0] * EVENTS_AT_MOST)), UUID)


@pytest.mark.usefixtures("patient")
async def test_what_waits_has_bounds_and_room_comes_back(
    ledger: Ledger, intake: EventIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_intake, "HELD_BYTES_AT_MOST", 2000)
    ledger.open.clear()
    held = [intake(events("x" * 1000))]
    with pytest.raises(Overloaded):
        intake(events(1))
    held.append(intake(events("x" * 1000, tenant="other")))
    with pytest.raises(Overloaded):
        intake(events(1, tenant="third"))
    ledger.open.set()
    await asyncio.gather(*held)
    await turns()
    third = intake(events(1, tenant="third"))
    assert isinstance(await third, UUID)


async def test_a_tenant_that_is_quiet_costs_nothing(intake: EventIntake) -> None:
    await intake(events(0))

    async def is_gone() -> bool:
        return not intake._tenants

    await until(is_gone)
    async with intake.turn_of("acme"):
        assert "acme" in intake._turns
    assert "acme" not in intake._turns
