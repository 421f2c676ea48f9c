"""The worker runtime: takes jobs off the conveyor and sees each of them to one end.

One job's way: `_take_jobs` → `_claim` → `_run` → `_attempt` (the service's handler) → `_finish`.
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from libs.common import log, metrics
from libs.common.backoff import Backoff, until_available
from libs.common.batching import Batcher
from libs.common.bus import Bus
from libs.common.contracts.events import cancel_subject, decode_cancels, encode_events, events_subject
from libs.common.db import Database
from libs.common.errors import Reject, Unavailable
from libs.common.job import Done, Job
from libs.common.ledger import claim as leases
from libs.common.ledger.claim import Claim
from libs.common.ledger.finish import Outcome, finish, finish_within
from libs.common.ledger.jobs import State, new_id
from libs.common.log import Subject, about
from libs.common.verdict import TimedOut, cancelled, released, verdict

TELL_EVERY_S = 0.2
"""How often the progress of all jobs goes out to followers."""
KEEP_EVERY_S = 1.0
"""How often progress is stored and timeouts are looked at: one look at all jobs is cheaper than a timer each."""
TICKET_WAIT_S = 0.5
"""How long one look for tickets waits; it also bounds how late a stop is noticed."""

UNWRITTEN_AT_MOST = 3
"""Jobs held for each slot, counting those whose end is still on its way to the ledger."""

DEFAULT_BACKOFF = Backoff()

logger = log.get("worker")

P = TypeVar("P", bound=BaseModel)
D = TypeVar("D")
Key = tuple[UUID, int]
"""A job id and the attempt."""


class InvalidPayload(Reject):
    """The job's payload is not what this worker understands."""


class Stop(Enum):
    """Why the runtime stopped a handler."""

    CANCELLED = "somebody asked for it"
    LOST = "another worker may have the job by now"
    SHUTDOWN = "the grace time is over"
    TIMEOUT = "the job's own time is over"


@dataclass(slots=True, eq=False)
class _Running:
    """A claimed job in this process."""

    claim: Claim
    started: float
    task: asyncio.Task[None] | None = None
    in_handler: bool = False
    stopped_for: Stop | None = None
    progress: dict[str, Any] | None = None

    def stop(self, reason: Stop) -> None:
        """Cancel the handler, once; one that has not begun yet will not."""
        if self.stopped_for is None:
            self.stopped_for = reason
            if self.in_handler and self.task is not None:
                self.task.cancel()


class Worker(Generic[P, D]):
    """Runs up to `slots` jobs of `queue` at once until told to stop. `backoff` is by kind of job."""

    def __init__(
        self,
        queue: str,
        payload: type[P],
        handle: Callable[[Job[P], D], Awaitable[Done]],
        deps: D,
        *,
        database: Database,
        bus: Bus,
        slots: int,
        grace_s: float,
        backoff: Mapping[str, Backoff] | None = None,
    ) -> None:
        self._queue = queue
        self._payload = payload
        self._handle = handle
        self._deps = deps
        self._db = database
        self._bus = bus
        self._slots = slots
        self._grace_s = grace_s
        self._backoff = backoff or {}
        self._id = new_id()
        self._held: dict[Key, _Running] = {}
        self._busy = 0
        self._freed = asyncio.Event()
        self._moved: set[Key] = set()
        self._untold: set[Key] = set()
        self._claimer = Batcher(self._claim)
        self._finisher = Batcher(self._write_outcomes)
        self._leased_at = float("-inf")
        self._stopping = False
        self._ended = {state: metrics.jobs_ended.labels(queue, state.value) for state in State}
        self._fenced = metrics.jobs_fenced.labels(queue)
        self._wait_seconds = metrics.job_wait_seconds.labels(queue)
        self._run_seconds = metrics.job_run_seconds.labels(queue)
        metrics.jobs_running.labels(queue).set_function(lambda: self._busy)

    @property
    def ready(self) -> bool:
        """Whether this worker can take jobs now."""
        leased = time.monotonic() - self._leased_at < leases.LEASE_S
        return leased and self._bus.connected and not self._stopping

    async def run(self, stop: asyncio.Event) -> None:
        """Take and run jobs until `stop` is set; then let them finish, or give them back."""
        await until_available(self._register)
        keeping = [asyncio.create_task(self._keep_lease()), asyncio.create_task(self._tell_progress())]
        try:
            async with self._bus.listening(cancel_subject(self._queue), self._hear_cancels):
                await self._take_jobs(stop)
                self._stopping = True
                await self._wind_down()
        finally:
            for task in keeping:
                task.cancel()
            await until_available(lambda: leases.deregister(self._db, self._id), patience_s=2)

    async def _register(self) -> None:
        await leases.register(
            self._db,
            self._id,
            queue=self._queue,
            slots=self._slots,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        self._leased_at = time.monotonic()
        logger.info("worker.registered", worker=str(self._id), queue=self._queue, slots=self._slots)

    async def _take_jobs(self, stop: asyncio.Event) -> None:
        async with self._bus.tickets(self._queue) as tickets:
            while not stop.is_set():
                # A slot is free when its handler is done, a little before the end is on disk.
                room = min(self._slots - self._busy, UNWRITTEN_AT_MOST * self._slots - len(self._held))
                if room <= 0:
                    await self._wait_for_room()
                    continue
                ids = await tickets.take(room, wait_s=TICKET_WAIT_S)
                if stop.is_set():
                    await self._bus.print_tickets(self._queue, ids)
                    break
                self._busy += len(ids)
                for job_id in ids:
                    self._claimer(job_id).add_done_callback(self._start)
        await self._claimer.drain()

    async def _wait_for_room(self) -> None:
        self._freed.clear()
        try:
            async with asyncio.timeout(TICKET_WAIT_S):
                await self._freed.wait()
        except TimeoutError:
            return

    async def _claim(self, ids: list[UUID]) -> Sequence[Claim | None]:
        """Claim the jobs behind tickets; None for a stale ticket."""
        distinct = list(dict.fromkeys(ids))
        try:
            claims = await until_available(
                lambda: leases.claim(self._db, self._id, distinct), patience_s=leases.LEASE_S
            )
        except Unavailable as error:  # the dispatcher will print these tickets again
            logger.warning("claim.unavailable", tickets=len(ids), error=str(error))
            return [None] * len(ids)
        taken = {claim.id: claim for claim in claims}
        await self._tell([(claim.id.hex, State.RUNNING, None) for claim in claims])
        return [taken.pop(job_id, None) for job_id in ids]

    def _start(self, claimed: "asyncio.Future[Claim | None]") -> None:
        claim = None if claimed.cancelled() else claimed.result()
        if claim is None:
            self._free_slot()
            return
        running = _Running(claim, time.perf_counter())
        self._held[claim.id, claim.attempt] = running
        self._wait_seconds.observe(max(0.0, claim.waited_s))
        running.task = asyncio.create_task(self._run(running))

    def _free_slot(self) -> None:
        self._busy -= 1
        self._freed.set()

    async def _run(self, running: _Running) -> None:
        claim = running.claim
        about.set(Subject(claim.id, claim.trace))
        try:
            end = await self._attempt(running)
        finally:
            self._free_slot()
        self._run_seconds.observe(time.perf_counter() - running.started)
        try:
            if end is not None:
                await self._finish(running, end)
        finally:
            self._held.pop((claim.id, claim.attempt), None)
            self._freed.set()

    async def _attempt(self, running: _Running) -> Done | Outcome | None:
        """Run the handler. What to write about it; None if the job is no longer ours."""
        if running.stopped_for is not None:
            return self._stopped(running, running.stopped_for)
        running.in_handler = True
        try:
            return await self._handle(self._job(running), self._deps)
        except asyncio.CancelledError as error:
            if running.stopped_for is not None:
                return self._stopped(running, running.stopped_for)
            return self._verdict(running.claim, error)
        except Exception as error:
            return self._verdict(running.claim, error)
        finally:
            running.in_handler = False

    def _stopped(self, running: _Running, reason: Stop) -> Outcome | None:
        match reason:
            case Stop.LOST:
                return None
            case Stop.CANCELLED:
                return cancelled(running.claim)
            case Stop.SHUTDOWN:
                return released(running.claim)
            case Stop.TIMEOUT:
                return self._verdict(running.claim, TimedOut(running.claim.timeout_s))

    def _verdict(self, claim: Claim, error: BaseException) -> Outcome:
        return verdict(claim, error, self._backoff.get(claim.kind, DEFAULT_BACKOFF))

    def _job(self, running: _Running) -> Job[P]:
        claim = running.claim
        try:
            payload = self._payload.model_validate_json(claim.payload)
        except ValidationError as error:
            raise InvalidPayload(str(error)) from error

        def report(progress: dict[str, Any]) -> None:
            running.progress = progress
            self._moved.add((claim.id, claim.attempt))
            self._untold.add((claim.id, claim.attempt))

        return Job(claim.id, claim.attempt, claim.tenant, claim.kind, payload, report)

    async def _finish(self, running: _Running, end: Done | Outcome) -> None:
        claim = running.claim
        outcome = end if isinstance(end, Outcome) else _success(claim, end)
        outcome = outcome._replace(progress=running.progress) if running.progress else outcome
        try:
            if isinstance(end, Done) and end.effects is not None:
                done = end
                taken = await until_available(lambda: self._finish_with_effects(outcome, done))
                await self._tell([(claim.id.hex, outcome.state, outcome.progress)])
            else:
                taken = await self._finisher(outcome)
        except Exception as error:  # what the handler returned cannot be stored
            outcome = self._verdict(claim, error)
            taken = await self._finisher(outcome)
        self._ended[outcome.state].inc()
        if not taken:
            self._fenced.inc()
            logger.warning("job.fenced", attempt=claim.attempt)
        elif outcome.error is not None:
            logger.warning("job.failed", attempt=claim.attempt, state=outcome.state, **outcome.error)

    async def _finish_with_effects(self, outcome: Outcome, done: Done) -> bool:
        try:
            async with self._db.begin() as connection:
                if not await finish_within(connection, self._id, outcome):
                    raise _NotOurs
                if done.effects is not None:
                    await done.effects(connection)
        except _NotOurs:
            return False
        return True

    async def _write_outcomes(self, outcomes: list[Outcome]) -> list[bool]:
        taken = await until_available(lambda: finish(self._db, self._id, outcomes))
        await self._tell([(outcome.id.hex, outcome.state, outcome.progress) for outcome in outcomes])
        return taken

    async def _tell(self, events: Sequence[tuple[str, str | None, dict[str, Any] | None]]) -> None:
        """Say what became of jobs, to whoever follows them."""
        if events:
            await self._bus.publish(events_subject(self._queue), encode_events(events))

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            untold, self._untold = self._untold, set()
            held = [running for key in untold if (running := self._held.get(key))]
            await self._tell([(running.claim.id.hex, None, running.progress) for running in held])

    def _hear_cancels(self, message: bytes) -> None:
        unwanted = set(decode_cancels(message))
        for (job_id, _), running in self._held.items():
            if job_id in unwanted:
                running.stop(Stop.CANCELLED)

    async def _keep_lease(self) -> None:
        """Show that this process lives, store progress, and drop the jobs it has lost."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            self._stop_overdue()
            try:
                await self._store_progress()
                if time.monotonic() - self._leased_at >= leases.HEARTBEAT_EVERY_S:
                    await self._renew_lease()
            except Unavailable as error:
                logger.warning("lease.unavailable", error=str(error))
            except Exception:  # whatever it is, this must go on, or all jobs of this process are lost
                logger.exception("lease.bug")

    async def _store_progress(self) -> None:
        moved, self._moved = self._moved, set()
        latest = {key: running.progress for key in moved if (running := self._held.get(key)) and running.progress}
        if latest:
            await leases.store_progress(self._db, self._id, latest)

    def _stop_overdue(self) -> None:
        now = time.perf_counter()
        for running in self._held.values():
            if now - running.started > running.claim.timeout_s:
                running.stop(Stop.TIMEOUT)

    async def _renew_lease(self) -> None:
        claimed_before = list(self._held.items())
        asked_at = time.monotonic()
        lease = await leases.heartbeat(self._db, self._id)
        if lease is None:
            logger.warning("lease.lost", jobs=len(claimed_before))
            self._id = new_id()
            await self._register()
        else:
            self._leased_at = asked_at
        for key, running in claimed_before:
            if lease is None or key not in lease.held:
                running.stop(Stop.LOST)
            elif key in lease.cancelled:
                running.stop(Stop.CANCELLED)
        if lease is not None:  # claims whose answer was lost on the way: nobody runs these
            forgotten = [Outcome(*key, State.QUEUED) for key in lease.settled if key not in self._held]
            if forgotten:
                await finish(self._db, self._id, forgotten)

    async def _wind_down(self) -> None:
        """Let running jobs finish within the grace time, then give the rest back without costing a retry."""
        tasks = [running.task for running in self._held.values() if running.task is not None]
        if tasks:
            logger.info("worker.finishing", jobs=len(tasks), grace_s=self._grace_s)
            await asyncio.wait(tasks, timeout=self._grace_s)
        for running in self._held.values():
            running.stop(Stop.SHUTDOWN)
        if tasks:
            await asyncio.wait(tasks)


class _NotOurs(Exception):
    """Rolls back the effects of an attempt that has lost its job."""


def _success(claim: Claim, done: Done) -> Outcome:
    artifacts: list[dict[str, Any]] = [asdict(artifact) for artifact in done.artifacts]
    return Outcome(claim.id, claim.attempt, State.SUCCEEDED, result=done.result, artifacts=artifacts)
