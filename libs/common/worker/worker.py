"""The worker runtime: takes tickets, claims their jobs, runs the handler, and records the outcome.

The path of a job: `_take_jobs` → `begin` → `_run` → `_attempt` (the service's handler) → `_end`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from libs.common import background, log, metrics, tracing
from libs.common.backoff import Backoff, until_available
from libs.common.batching import Batcher
from libs.common.bus import Bus
from libs.common.db import Database
from libs.common.errors import ArgosyError, Reject, Unavailable, all_codes
from libs.common.ledger import flows
from libs.common.ledger.claim import Claim, Offers, claim, large_payload
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.jobs import State
from libs.common.log import Subject, about
from libs.common.tracing import Kind
from libs.common.worker import spans
from libs.common.worker.effects import effects_at_once, end_with_effects
from libs.common.worker.failure import Outages, TimedOut, cancelled, outcome_of_failure, postponed, released
from libs.common.worker.job import Done, FanOut, HandlerResult, Job, Snooze
from libs.common.worker.lease import Lease, Running, Stop

TICKET_WAIT_S = 0.5
"""How long one call for tickets waits. It also bounds how late a stop is noticed."""

CLAIM_PATIENCE_S = 3.0
"""How long a claim waits for PostgreSQL. Then its tickets are dropped; the dispatcher publishes them again."""
AHEAD_S = 0.02
"""Tickets are requested ahead of free slots for this much work. With short jobs this hides a round trip. With long
jobs no ticket is requested ahead, so that none lies here while another worker is idle."""

LET_GO_WITHIN_S = 2.0
"""How long a handler may take to stop when the grace time is over."""

UNWRITTEN_AT_MOST = 3
"""The most jobs held per slot, counting those whose outcome is not written yet."""

OUTAGE_REST_S = 1.0
"""How long a slot rests whose job met a server that is away. So an outage does not turn over a long queue."""

SOON_S = 0.001
"""The shortest delay of a snoozed job."""

DEFAULT_BACKOFF = Backoff()

logger = log.get("worker")

P = TypeVar("P", bound=BaseModel)
D = TypeVar("D")
FIELDS_AT_MOST = 5
"""Fields of a payload that an error names."""


class InvalidPayload(Reject):
    """The job's payload is not valid for this worker."""


def _what_is_unknown(error: ValidationError) -> str:
    """The first fields of a payload that the worker cannot read; pydantic's sentences have what is in them."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    fields = dict.fromkeys(".".join(map(str, one["loc"])) or "all of it" for one in found)
    return f"The worker does not understand the job's payload: {', '.join([*fields][:FIELDS_AT_MOST])}."


class Worker(Generic[P, D]):
    """Runs up to `slots` jobs of `queue` at the same time until told to stop. `backoff` is by kind of job."""

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
        offers: Offers | None = None,
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
        self.lease = Lease(database, bus, queue, slots, offers)
        self._tasks = background.Tasks()
        self._busy = 0
        self._throughput = _Throughput()
        self._outages = Outages()
        self._freed = asyncio.Event()
        self._stopping = False
        self._reading = asyncio.Lock()
        self._room_for_effects = effects_at_once(database)
        self._record: Batcher[Outcome, bool] = Batcher(self._write_outcomes)
        self._finished = {state: metrics.attempts_finished.labels(queue, state.value) for state in State}
        self._fenced = metrics.jobs_fenced.labels(queue)
        self._wait_seconds = metrics.job_wait_seconds.labels(queue)
        self._run_seconds = metrics.job_run_seconds.labels(queue)
        self._codes = all_codes()
        metrics.show_from_the_start(metrics.attempt_errors, queue=[queue], code=[*self._codes, "other"])
        metrics.jobs_running.labels(queue).set_function(lambda: self._busy)

    @property
    def ready(self) -> bool:
        """Whether this worker can take jobs: lease valid, NATS connected, not stopping."""
        return self.lease.valid and self._bus.connected and not self._stopping

    async def run(self, stop: asyncio.Event) -> None:
        """Take and run jobs until `stop` is set. Then let them finish within the grace time, or release them.

        Call it within `lease.kept()`.
        """
        await self._take_jobs(stop)
        self._stopping = True
        await self._finish_or_release()

    async def _take_jobs(self, stop: asyncio.Event) -> None:
        async with self._bus.tickets(self._queue) as tickets:
            while not stop.is_set():
                # A slot is free when its handler has returned, a little before the outcome is on disk.
                room = min(self._slots - self._busy, UNWRITTEN_AT_MOST * self._slots - len(self.lease.held))
                if room <= 0:
                    await self._wait_for_room()
                    continue
                ahead = min(self._slots, int(self._throughput.per_second() * AHEAD_S))
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
        """Claim the jobs of these tickets, and start those that could be claimed."""
        try:
            claims = await until_available(
                lambda: claim(self._db, self.lease.worker, list(dict.fromkeys(ids))), patience_s=CLAIM_PATIENCE_S
            )
        except Unavailable as error:  # the dispatcher publishes these tickets again
            logger.warning("claim.unavailable", tickets=len(ids), error=str(error))
            return
        for claimed in claims:
            running = Running(claimed, time.perf_counter())
            self.lease.held[claimed.id, claimed.attempt] = running
            self._busy += 1
            if not claimed.children:  # it has waited for its children, not in the queue
                self._wait_seconds.observe(max(0.0, claimed.waited_s))
            running.task = self._tasks.start(self._run(running))
        await self.lease.tell([(claimed.id.hex, State.RUNNING, None) for claimed in claims])

    async def _run(self, running: Running) -> None:
        claimed = running.claim
        about.set(Subject(claimed.id, claimed.trace))
        rests = False
        try:
            result = await self._attempt(running)
            rests = isinstance(result, Outcome) and _is_postponed(result)
        finally:
            if rests:
                asyncio.get_running_loop().call_later(OUTAGE_REST_S, self._free_slot)
            else:
                self._free_slot()
        self._run_seconds.observe(time.perf_counter() - running.started)
        try:
            if result is not None:
                await self._end(running, result)
        finally:
            tracing.current().end()
            self.lease.held.pop((claimed.id, claimed.attempt), None)
            self._freed.set()

    def _free_slot(self) -> None:
        self._busy -= 1
        self._throughput.ended += 1
        self._freed.set()

    async def _attempt(self, running: Running) -> HandlerResult | Outcome | None:
        """Run the handler. Returns what to record, or None if this worker no longer holds the job."""
        if running.stopped_for is not None:
            return self._stopped(running.claim, running.stopped_for)
        running.in_handler = True
        try:
            await spans.begin(self._db, self._queue, running.claim)
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
            case Stop.SHUTDOWN | Stop.PREEMPTED:
                return released(claimed)
            case Stop.TIMEOUT:
                return self._failure(claimed, TimedOut(claimed.timeout_s))

    def _failure(self, claimed: Claim, error: BaseException) -> Outcome:
        if isinstance(error, Unavailable):
            return postponed(claimed, error, self._outages.wait_s(error.code))
        if not isinstance(error, ArgosyError):
            logger.error("job.bug", attempt=claimed.attempt, kind=claimed.kind, exc_info=error)
        return outcome_of_failure(claimed, error, self._backoff(claimed.kind))

    async def _job(self, running: Running) -> Job[P]:
        claimed = running.claim
        payload = await self._read_payload(claimed)

        def report(progress: dict[str, Any]) -> None:
            self.lease.progressed(running, progress)

        job = Job(claimed.id, claimed.attempt, claimed.tenant, claimed.kind, payload, report, claimed.parent)
        job.retried = claimed.retried
        if claimed.children:
            job.children = await until_available(lambda: flows.children_of(self._db, claimed.id))
        return job

    async def _read_payload(self, claimed: Claim) -> P:
        """Large payloads are read one at a time, in a thread: heartbeats go out meanwhile."""
        try:
            if claimed.payload is not None:
                return self._payload.model_validate_json(claimed.payload)
            async with self._reading:
                text = await until_available(lambda: large_payload(self._db, claimed.id))
                return await asyncio.to_thread(self._payload.model_validate_json, text)
        except ValidationError as error:
            raise InvalidPayload(_what_is_unknown(error)) from error

    async def _end(self, running: Running, result: HandlerResult | Outcome) -> None:
        claimed = running.claim
        if isinstance(result, FanOut):
            try:
                await self._fan_out(claimed, result)
                return
            except Exception as error:  # the children cannot be stored
                result = self._failure(claimed, error)
        if isinstance(result, Snooze):
            wait_s = max(result.after_s, SOON_S)
            result = Outcome(claimed.id, claimed.attempt, State.QUEUED, retry_in_s=wait_s, snoozed=True)
        outcome = result if isinstance(result, Outcome) else _success(claimed, result)
        outcome = outcome._replace(progress=running.progress) if running.progress else outcome
        try:
            with tracing.child("finish"):
                if isinstance(result, Done) and (result.effects is not None or result.forget_payload):
                    written = await self._end_with_effects(outcome, result)
                else:
                    written = await self._record(outcome)
        except Exception as error:  # what the handler returned cannot be stored
            outcome = self._failure(claimed, error)
            written = await self._record(outcome)
        self._note(outcome)
        if claimed.parent is not None and outcome.state is not State.QUEUED:
            await self._wake(claimed.parent)
        if not written:
            self._fenced.inc()
            logger.warning("job.fenced", attempt=claimed.attempt)
        elif _is_postponed(outcome):
            logger.info("job.postponed", attempt=claimed.attempt, wait_s=outcome.retry_in_s, error=outcome.error)
        elif outcome.error is not None:
            told = {name: outcome.error[name] for name in outcome.error.keys() - {"traceback"}}  # see job.bug
            logger.warning("job.failed", attempt=claimed.attempt, state=outcome.state, **told)

    def _note(self, outcome: Outcome) -> None:
        """Show the outcome of an attempt in metrics, and in the attempt's span."""
        self._finished[outcome.state].inc()
        if outcome.error is not None:
            code = str(outcome.error["code"])
            metrics.attempt_errors.labels(self._queue, code if code in self._codes else "other").inc()
        spans.note(outcome)

    async def _fan_out(self, claimed: Claim, fan_out: FanOut) -> None:
        """Store the children, publish the first tickets, and let the job wait."""
        progress = {"done": 0, "total": len(fan_out.children), "note": None}
        span_id = tracing.span_id_of(claimed.id)
        with tracing.child("fan out", Kind.PRODUCER, span_id=span_id, jobs=len(fan_out.children)):
            tickets = await until_available(
                lambda: flows.fan_out(
                    self._db, self.lease.worker, claimed.id, claimed.attempt, fan_out.children, progress
                )
            )
        if tickets is None:
            # A cancel was requested, the job is lost, or an earlier try succeeded and its reply was lost.
            await self._record(cancelled(claimed))
            return
        await self._bus.publish_tickets(self._queue, tickets)
        await self.lease.tell([(claimed.id.hex, State.WAITING, None)])

    async def _wake(self, parent: UUID) -> None:
        """A child has ended: queue its parent if it was the last one, and publish the parent's progress."""
        try:
            for ready, queue in await flows.wake(self._db, parent):
                await self._bus.publish_tickets(queue, [ready])
        except Unavailable as error:  # the dispatcher checks too
            logger.warning("wake.unavailable", error=str(error))
        await self.lease.tell([(parent.hex, State.WAITING, None)])

    async def _end_with_effects(self, outcome: Outcome, done: Done) -> bool:
        """Write the outcome and the handler's own rows in one transaction. False if the job is lost."""
        async with self._room_for_effects:
            written = await until_available(lambda: end_with_effects(self._db, self.lease.worker, outcome, done))
        await self.lease.tell([(outcome.id.hex, outcome.state, outcome.progress)])
        return written

    async def _write_outcomes(self, outcomes: list[Outcome]) -> list[bool]:
        written = await until_available(lambda: finish(self._db, self.lease.worker, outcomes))
        await self.lease.tell([(outcome.id.hex, outcome.state, outcome.progress) for outcome in outcomes])
        return written

    async def _finish_or_release(self) -> None:
        """Let running jobs finish within the grace time, then release the rest. A release costs no retry."""
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
        if stubborn:  # their handlers do not stop; the fencing token refuses their later writes
            logger.warning("worker.stubborn", jobs=len(stubborn))
            await until_available(lambda: finish(self._db, self.lease.worker, stubborn), patience_s=1)


class _Throughput:
    """Measures how many jobs per second this worker has run lately."""

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


def _is_postponed(outcome: Outcome) -> bool:
    """Whether the job waits for a server that is away."""
    return outcome.error is not None and not outcome.failed


def _success(claimed: Claim, done: Done) -> Outcome:
    artifacts: list[dict[str, Any]] = [asdict(artifact) for artifact in done.artifacts]
    return Outcome(claimed.id, claimed.attempt, State.SUCCEEDED, result=done.result, artifacts=artifacts)
