"""The worker runtime: takes jobs off the conveyor and sees each of them to one end.

One job's way: `_take_jobs` → `begin` → `_run` → `_attempt` (the service's handler) → `_end`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from libs.common import log, metrics
from libs.common.backoff import Backoff, until_available
from libs.common.batching import Batcher
from libs.common.bus import Bus
from libs.common.db import Database
from libs.common.errors import Reject, Unavailable
from libs.common.ledger import flows
from libs.common.ledger.claim import Claim, claim
from libs.common.ledger.finish import Outcome, finish, finish_within
from libs.common.ledger.jobs import State
from libs.common.log import Subject, about
from libs.common.worker.failure import TimedOut, cancelled, outcome_of_failure, released
from libs.common.worker.job import Done, FanOut, HandlerResult, Job, Snooze
from libs.common.worker.lease import Lease, Running, Stop

TICKET_WAIT_S = 0.5
"""How long one look for tickets waits; it also bounds how late a stop is noticed."""

CLAIM_PATIENCE_S = 3.0
"""How long a claim waits for PostgreSQL; then its tickets are given up, and published again when it is back."""
AHEAD_S = 0.02
"""For how much work tickets are taken ahead of free slots: enough to hide a round trip where jobs are short, and
none at all where they are long, so that no ticket lies here while another worker is idle."""

LET_GO_WITHIN_S = 2.0
"""How long a handler may take to let go of its job when the grace time is over."""

UNWRITTEN_AT_MOST = 3
"""Jobs held for each slot, counting those whose end is still on its way to the ledger."""

SOON_S = 0.001
"""The least that a job which asks for it waits."""

DEFAULT_BACKOFF = Backoff()

logger = log.get("worker")

P = TypeVar("P", bound=BaseModel)
D = TypeVar("D")


class InvalidPayload(Reject):
    """The job's payload is not what this worker understands."""


class Worker(Generic[P, D]):
    """Runs up to `slots` jobs of `queue` at once until told to stop. `backoff` is by kind of job."""

    def __init__(
        self,
        queue: str,
        payload: type[P],
        handle: Callable[[Job[P], D], Awaitable[HandlerResult]],
        deps: D,
        *,
        database: Database,
        bus: Bus,
        slots: int,
        grace_s: float,
        backoff: Callable[[str], Backoff] = lambda _kind: DEFAULT_BACKOFF,
    ) -> None:
        self._queue = queue
        self._payload = payload
        self._handle = handle
        self._deps = deps
        self._db = database
        self._bus = bus
        self._slots = slots
        self._grace_s = grace_s
        self._backoff = backoff
        self.lease = Lease(database, bus, queue, slots)
        self._busy = 0
        self._pace = _Pace()
        self._freed = asyncio.Event()
        self._stopping = False
        self._ending: Batcher[Outcome, bool] = Batcher(self._write_outcomes)
        self._ended = {state: metrics.attempts_finished.labels(queue, state.value) for state in State}
        self._fenced = metrics.jobs_fenced.labels(queue)
        self._wait_seconds = metrics.job_wait_seconds.labels(queue)
        self._run_seconds = metrics.job_run_seconds.labels(queue)
        metrics.jobs_running.labels(queue).set_function(lambda: self._busy)

    @property
    def ready(self) -> bool:
        """Whether this worker can take jobs now."""
        return self.lease.valid and self._bus.connected and not self._stopping

    async def run(self, stop: asyncio.Event) -> None:
        """Take and run jobs until `stop` is set; then let them finish, or give them back. Under a kept lease."""
        await self._take_jobs(stop)
        self._stopping = True
        await self._wind_down()

    async def _take_jobs(self, stop: asyncio.Event) -> None:
        async with self._bus.tickets(self._queue) as tickets:
            while not stop.is_set():
                # A slot is free when its handler is done, a little before the end is on disk.
                room = min(self._slots - self._busy, UNWRITTEN_AT_MOST * self._slots - len(self.lease.held))
                if room <= 0:
                    await self._wait_for_room()
                    continue
                ahead = min(self._slots, int(self._pace.per_second() * AHEAD_S))
                ids = await tickets.take(room, ahead=ahead, wait_s=TICKET_WAIT_S)
                if stop.is_set():
                    await self._bus.publish_tickets(self._queue, ids)
                elif ids:
                    await self.begin(ids)

    async def _wait_for_room(self) -> None:
        self._freed.clear()
        try:
            async with asyncio.timeout(TICKET_WAIT_S):
                await self._freed.wait()
        except TimeoutError:
            return

    async def begin(self, ids: Sequence[UUID]) -> None:
        """Claim the jobs behind tickets and start those that were still to be had."""
        try:
            claims = await until_available(
                lambda: claim(self._db, self.lease.worker, list(dict.fromkeys(ids))), patience_s=CLAIM_PATIENCE_S
            )
        except Unavailable as error:  # the dispatcher will publish these tickets again
            logger.warning("claim.unavailable", tickets=len(ids), error=str(error))
            return
        for claimed in claims:
            running = Running(claimed, time.perf_counter())
            self.lease.held[claimed.id, claimed.attempt] = running
            self._busy += 1
            if not claimed.children:  # it has waited for those
                self._wait_seconds.observe(max(0.0, claimed.waited_s))
            running.task = asyncio.create_task(self._run(running))
        await self.lease.tell([(claimed.id.hex, State.RUNNING, None) for claimed in claims])

    async def _run(self, running: Running) -> None:
        claimed = running.claim
        about.set(Subject(claimed.id, claimed.trace))
        try:
            end = await self._attempt(running)
        finally:
            self._busy -= 1
            self._pace.ended += 1
            self._freed.set()
        self._run_seconds.observe(time.perf_counter() - running.started)
        try:
            if end is not None:
                await self._end(running, end)
        finally:
            self.lease.held.pop((claimed.id, claimed.attempt), None)
            self._freed.set()

    async def _attempt(self, running: Running) -> HandlerResult | Outcome | None:
        """Run the handler. What to write about it; None if the job is no longer ours."""
        if running.stopped_for is not None:
            return self._stopped(running.claim, running.stopped_for)
        running.in_handler = True
        try:
            return await self._handle(await self._job(running), self._deps)
        except asyncio.CancelledError as error:
            if running.stopped_for is not None:
                return self._stopped(running.claim, running.stopped_for)
            return self._failure(running.claim, error)
        except Exception as error:
            return self._failure(running.claim, error)
        finally:
            running.in_handler = False

    def _stopped(self, claimed: Claim, reason: Stop) -> Outcome | None:
        match reason:
            case Stop.LOST:
                return None
            case Stop.CANCELLED:
                return cancelled(claimed)
            case Stop.SHUTDOWN:
                return released(claimed)
            case Stop.TIMEOUT:
                return self._failure(claimed, TimedOut(claimed.timeout_s))

    def _failure(self, claimed: Claim, error: BaseException) -> Outcome:
        return outcome_of_failure(claimed, error, self._backoff(claimed.kind))

    async def _job(self, running: Running) -> Job[P]:
        claimed = running.claim
        try:
            payload = self._payload.model_validate_json(claimed.payload)
        except ValidationError as error:
            raise InvalidPayload(str(error)) from error

        def report(progress: dict[str, Any]) -> None:
            self.lease.progressed(running, progress)

        job = Job(claimed.id, claimed.attempt, claimed.tenant, claimed.kind, payload, report, claimed.parent)
        if claimed.children:
            job.children = await until_available(lambda: flows.children_of(self._db, claimed.id))
        return job

    async def _end(self, running: Running, end: HandlerResult | Outcome) -> None:
        claimed = running.claim
        if isinstance(end, FanOut):
            try:
                await self._fan_out(claimed, end)
                return
            except Exception as error:  # its children cannot be stored
                end = self._failure(claimed, error)
        if isinstance(end, Snooze):
            wait_s = max(end.after_s, SOON_S)
            end = Outcome(claimed.id, claimed.attempt, State.QUEUED, retry_in_s=wait_s, snoozed=True)
        outcome = end if isinstance(end, Outcome) else _success(claimed, end)
        outcome = outcome._replace(progress=running.progress) if running.progress else outcome
        try:
            if isinstance(end, Done) and end.effects is not None:
                taken = await self._end_with_effects(outcome, end)
            else:
                taken = await self._ending(outcome)
        except Exception as error:  # what the handler returned cannot be stored
            outcome = self._failure(claimed, error)
            taken = await self._ending(outcome)
        self._ended[outcome.state].inc()
        if claimed.parent is not None and outcome.state is not State.QUEUED:
            await self._wake(claimed.parent)
        if not taken:
            self._fenced.inc()
            logger.warning("job.fenced", attempt=claimed.attempt)
        elif outcome.error is not None:
            logger.warning("job.failed", attempt=claimed.attempt, state=outcome.state, **outcome.error)

    async def _fan_out(self, claimed: Claim, fan_out: FanOut) -> None:
        """Let the job wait for its children."""
        progress = {"done": 0, "total": len(fan_out.children), "note": None}
        tickets = await until_available(
            lambda: flows.fan_out(
                self._db, self.lease.worker, claimed.id, claimed.attempt, fan_out.children, progress
            )
        )
        if tickets is None:  # it was cancelled meanwhile, or is not ours; or this was done, and the answer lost
            await self._ending(cancelled(claimed))
            return
        await self._bus.publish_tickets(self._queue, tickets)
        await self.lease.tell([(claimed.id.hex, State.WAITING, None)])

    async def _wake(self, parent: UUID) -> None:
        """A child has ended: its parent has come further, and if it was the last one, goes on."""
        try:
            for ready, queue in await flows.wake(self._db, [parent]):
                await self._bus.publish_tickets(queue, [ready])
        except Unavailable as error:  # the dispatcher looks too
            logger.warning("wake.unavailable", error=str(error))
        await self.lease.tell([(parent.hex, State.WAITING, None)])

    async def _end_with_effects(self, outcome: Outcome, done: Done) -> bool:
        """Write the end together with the handler's own rows, or neither."""

        async def write() -> bool:
            try:
                async with self._db.begin() as connection:
                    if not await finish_within(connection, self.lease.worker, outcome):
                        raise _NotOurs
                    if done.effects is not None:
                        await done.effects(connection)
            except _NotOurs:
                return False
            return True

        taken = await until_available(write)
        await self.lease.tell([(outcome.id.hex, outcome.state, outcome.progress)])
        return taken

    async def _write_outcomes(self, outcomes: list[Outcome]) -> list[bool]:
        taken = await until_available(lambda: finish(self._db, self.lease.worker, outcomes))
        await self.lease.tell([(outcome.id.hex, outcome.state, outcome.progress) for outcome in outcomes])
        return taken

    async def _wind_down(self) -> None:
        """Let running jobs finish within the grace time, then give the rest back without costing a retry."""
        held = self.lease.held
        tasks = [running.task for running in held.values() if running.task is not None]
        if tasks:
            logger.info("worker.finishing", jobs=len(tasks), grace_s=self._grace_s)
            await asyncio.wait(tasks, timeout=self._grace_s)
        for running in held.values():
            running.stop(Stop.SHUTDOWN)
        if tasks:
            await asyncio.wait(tasks, timeout=LET_GO_WITHIN_S)
        stubborn = [released(running.claim) for running in held.values() if running.in_handler]
        if stubborn:  # their handlers will not let go; the fence keeps out whatever they still do
            logger.warning("worker.stubborn", jobs=len(stubborn))
            await until_available(lambda: finish(self._db, self.lease.worker, stubborn), patience_s=1)


class _Pace:
    """How many jobs a second this worker gets through, as of lately."""

    MEASURED_OVER_S = 0.1

    def __init__(self) -> None:
        self.ended = 0
        self._rate = 0.0
        self._since = time.perf_counter()

    def per_second(self) -> float:
        passed_s = time.perf_counter() - self._since
        if passed_s >= self.MEASURED_OVER_S:
            self._rate, self.ended = self.ended / passed_s, 0
            self._since += passed_s
        return self._rate


class _NotOurs(Exception):
    """Rolls back the effects of an attempt that has lost its job."""


def _success(claimed: Claim, done: Done) -> Outcome:
    artifacts: list[dict[str, Any]] = [asdict(artifact) for artifact in done.artifacts]
    return Outcome(claimed.id, claimed.attempt, State.SUCCEEDED, result=done.result, artifacts=artifacts)
