"""Accepts jobs and publishes their tickets.

A job is committed to the ledger first. If its queue has no backlog, its ticket is published at once (the fast
path). Otherwise it waits in the ledger until `Dispatcher.run` publishes its ticket. The same loop handles due
times, retries, lost tickets and the jobs of dead workers. Every gateway runs it; they skip each other's locked
rows.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

from libs.common import background, log, metrics, tracing
from libs.common.backoff import until_available
from libs.common.batching import Batcher
from libs.common.bus import Bus, StreamState, StreamUnavailable
from libs.common.contracts.events import cancel_subject, encode_preemptions
from libs.common.contracts.services import QUEUES_NOT_PREEMPTED
from libs.common.db import PROMPT_S, STATEMENT_S, Database
from libs.common.errors import Unavailable
from libs.common.ledger import bulk_retries, flows, requeueing, schedules, sharing
from libs.common.ledger.accept import Accepted, accept
from libs.common.ledger.claim import HEARTBEAT_EVERY_S
from libs.common.ledger.jobs import NewJob
from libs.common.ledger.picking import WINDOW_LARGEST, pick
from libs.common.ledger.requeueing import Demand
from libs.common.tracing import Kind, Place, Span

ROUND_S = 0.25
BUSY_ROUND_S = 0.02
NO_WORKER_ROUND_S = 0.05
SHARED_ROUND_S = 0.05
DOWN_ROUND_S = 1.0
"""Seconds between two rounds over the queues: normally; when workers may run out of tickets; when jobs wait but no
worker has come yet; when slots are handed out one by one; when a server is away."""
BALANCE_EVERY_S = 0.5
"""Seconds between two looks at who holds and who waits, in a queue in which a tenant may starve."""
REPAIR_EVERY_S = 1.0
"""Seconds between two searches for lost tickets and dead workers."""
WINDOW_S = 2.0
"""Seconds of work that may be on the conveyor. The rest stays in the ledger, where jobs can be ordered and
cancelled."""
TICKETS_WITHOUT_WORKERS = 8
"""The window while there is no worker: its first tickets are there when one comes."""
PICKED_AT_A_TIME = 1_000
LOST_AFTER_S = 3.0
"""A ticket this much older than the oldest one on the conveyor is no longer there."""
REPUBLISH_AT_MOST = 5_000
COMMITS = 2
"""Concurrent commits: while the disk writes one, the next is prepared."""
LARGE_PAYLOAD_BYTES = 256 * 1024
"""A job with a larger payload is committed on its own: PostgreSQL takes a second for 24 MB."""
ACCEPT_PATIENCE_S = 3.0
"""Seconds that an accept waits for PostgreSQL to come back before the caller gets 503."""

logger = log.get("dispatcher")

T = TypeVar("T")


@dataclass(slots=True)
class _QueueState:
    """What this process knows of one queue since its last round."""

    fast_path: bool = False
    """Whether a new job's ticket may be published at once: no job waits without a ticket, and there is no cap."""
    room: int = 0
    """How many tickets may still be published before the next round."""
    window: int = 0
    rate: float = 0.0
    pace: float = 0.0
    """Tickets taken per second: `rate` is a mean over about a second, `pace` is since the last round."""
    taken: int = 0
    seen_at: float = float("-inf")
    balanced_at: float = float("-inf")
    last_tenant: str = ""
    """The tenant served last; the next round begins after it."""
    stream_error: str = ""
    """Why the stream is unavailable; empty if it is not."""


class Dispatcher:
    """Accepts jobs of `queues` and publishes their tickets."""

    def __init__(self, database: Database, bus: Bus, queues: Sequence[str]) -> None:
        self._db = database
        self._bus = bus
        self._queues = {queue: _QueueState() for queue in queues}
        for counter in (metrics.jobs_accepted, metrics.jobs_poisoned, metrics.jobs_preempted):
            metrics.show_from_the_start(counter, queue=queues)
        metrics.show_from_the_start(metrics.tickets_published, queue=queues, reason=("accepted", "due", "lost"))
        self._accepting = Batcher(self._accept, at_once=COMMITS)
        self._accepting_large = Batcher(partial(self._accept, timeout_s=STATEMENT_S), max_size=1)
        self._repaired_at = float("-inf")
        self._reached_at = float("-inf")
        self._succeeded_at = float("-inf")
        self._no_recovery_until = float("-inf")

    @property
    def last_success_s(self) -> float:
        """Seconds since all queues were last supplied, which needs PostgreSQL and NATS; infinite at first."""
        return time.monotonic() - self._succeeded_at

    def accept(self, job: NewJob) -> "asyncio.Future[Accepted]":
        """Commit `job`; done when it is durable. Raises Unavailable: it may then be committed or not."""
        if len(job.payload) > LARGE_PAYLOAD_BYTES:
            return self._accepting_large(job)
        return self._accepting(job)

    def close_fast_path(self, queue: str) -> None:
        """Publish no ticket of new jobs before the next round, because the queue was paused or capped."""
        self._queues[queue].fast_path = False

    async def _accept(self, jobs: list[NewJob], timeout_s: float = PROMPT_S) -> list[Accepted]:
        metrics.accept_batch_size.observe(len(jobs))
        ticketed = [self._claim_room(job) for job in jobs]
        with _accept_spans(jobs):
            accepted = await until_available(
                lambda: accept(self._db, jobs, ticketed=ticketed, timeout_s=timeout_s),
                patience_s=ACCEPT_PATIENCE_S,
            )
        by_queue: dict[str, list[UUID]] = {}
        for job, has_ticket, result in zip(jobs, ticketed, accepted, strict=True):
            if has_ticket and result.id == job.id:
                by_queue.setdefault(job.queue, []).append(job.id)
        for queue, ids in by_queue.items():
            await self._publish(queue, ids, "accepted")
        return accepted

    def _claim_room(self, job: NewJob) -> bool:
        state = self._queues[job.queue]
        if job.run_at is not None or not state.fast_path or state.room <= 0 or not self._bus.connected:
            return False
        state.room -= 1
        return True

    async def run(self) -> None:
        """Publish tickets, and repair what was lost, for ever."""
        while True:
            wait_s = DOWN_ROUND_S
            try:
                with background.surviving_bugs("Dispatcher.run"):
                    wait_s = await self._go_round()
            except Unavailable as error:
                for state in self._queues.values():
                    state.fast_path = False
                logger.warning("dispatch.unavailable", error=str(error))
            await asyncio.sleep(max(BUSY_ROUND_S, wait_s))

    async def _go_round(self) -> float:
        """Run one round. Returns the seconds until the next. Raises Unavailable."""
        await requeueing.promote_due(self._db)
        self._note_reachable()
        if time.monotonic() - self._repaired_at >= REPAIR_EVERY_S:
            for part in (
                self._recover_jobs,
                self._wake_parents,
                self._fire_schedules,
                self._release_replays,
                self._republish_lost,
            ):
                await self._run_part(part)
            self._repaired_at = time.monotonic()
        return await self._supply_all()

    async def _run_part(self, part: Callable[[], Awaitable[T]]) -> T | None:
        """The result of `part`, or None if it has a bug, which must not stop the others. Raises Unavailable."""
        with background.surviving_bugs("Dispatcher.run"):
            return await part()
        return None

    def _note_reachable(self) -> None:
        """Note that the ledger was reached. After an outage, give workers time to send a heartbeat again."""
        now = time.monotonic()
        if now - self._reached_at > 2 * DOWN_ROUND_S and self._reached_at > 0:
            self._no_recovery_until = now + HEARTBEAT_EVERY_S + DOWN_ROUND_S
        self._reached_at = now

    async def _recover_jobs(self) -> None:
        """Return the jobs of dead workers to their queues."""
        if time.monotonic() < self._no_recovery_until:
            return
        recovered = await requeueing.recover(self._db)
        if recovered.jobs:
            metrics.jobs_recovered.inc(recovered.jobs)
            logger.warning("dispatch.recovered", jobs=recovered.jobs)
        for queue, number in recovered.poisoned.items():
            metrics.jobs_poisoned.labels(queue).inc(number)

    async def _wake_parents(self) -> None:
        """Queue jobs whose children have all ended, if the worker that ended the last child could not."""
        for job_id, queue in await flows.wake(self._db):
            await self._publish(queue, [job_id], "due")

    async def _fire_schedules(self) -> None:
        """Create the jobs of schedules that are due."""
        fired = await schedules.fire(self._db)
        for late_s in fired.late_s:
            metrics.schedule_late_seconds.observe(max(0.0, late_s))
        metrics.schedule_missed.inc(fired.missed)

    async def _release_replays(self) -> None:
        """Release the jobs that bulk retries may release now."""
        await bulk_retries.release(self._db)

    async def _republish_lost(self) -> None:
        """Publish lost tickets again."""
        for queue, stream in (await self._streams()).items():
            lost = await requeueing.reissue_lost_tickets(
                self._db, queue, stream.oldest_age_s, LOST_AFTER_S, REPUBLISH_AT_MOST
            )
            await self._publish(queue, lost, "lost")

    async def _supply_all(self) -> float:
        """Fill the conveyors of all queues. Returns the seconds until the next round. Raises Unavailable."""
        streams = await self._streams()
        waits = [await self._run_part(partial(self._supply, *stream)) for stream in streams.items()]
        if len(streams) == len(self._queues) and None not in waits:
            self._succeeded_at = time.monotonic()
        return min([ROUND_S, *(wait_s for wait_s in waits if wait_s is not None)])

    async def _streams(self) -> dict[str, StreamState]:
        """The states of the queues' streams. One that is unavailable is left out, and does not stop the others."""
        found = await asyncio.gather(*(self._look(queue) for queue in self._queues))
        return {queue: stream for queue, stream in zip(self._queues, found, strict=True) if stream is not None}

    async def _look(self, queue: str) -> StreamState | None:
        """The state of the queue's stream; None if it is unavailable, which is logged as it begins and ends."""
        state = self._queues[queue]
        try:
            stream = await self._bus.stream_state(queue)
        except StreamUnavailable as error:
            state.fast_path = False
            if not state.stream_error:
                logger.warning("dispatch.stream_unavailable", queue=queue, error=str(error))
            state.stream_error = str(error)
            return None
        if state.stream_error:
            state.stream_error = ""
            logger.info("dispatch.stream_available", queue=queue)
        return stream

    async def _supply(self, queue: str, stream: StreamState) -> float:
        """Fill one queue's conveyor up to its window. Returns the seconds until the next round."""
        state = self._queues[queue]
        demand = await requeueing.demand(self._db, queue)
        metrics.conveyor_depth.labels(queue).set(stream.depth)
        metrics.slots.labels(queue).set(demand.slots)
        metrics.workers.labels(queue).set(demand.workers)
        metrics.queue_paused.labels(queue).set(demand.paused)
        if demand.max_running is None:
            metrics.queue_cap.remove(queue)
        else:
            metrics.queue_cap.labels(queue).set(demand.max_running)
        _size_window(state, stream, demand)
        state.room = 0 if demand.paused else demand.slots if demand.shared else max(0, state.window - stream.depth)
        state.fast_path = not (demand.backlog or demand.paused or demand.capped)
        if _may_starve(stream, demand) and await self._balance(queue, state, demand):
            state.fast_path = False
            return BUSY_ROUND_S
        if not demand.backlog:
            return ROUND_S
        if not state.room:
            return ROUND_S if demand.slots or demand.paused else NO_WORKER_ROUND_S
        picked = await self._pick_and_publish(queue, state, demand)
        if demand.shared:
            return SHARED_ROUND_S
        if not stream.depth or demand.capped:  # it had run empty, or capped slots become free one by one
            return BUSY_ROUND_S if picked else ROUND_S
        return (stream.depth + picked) / max(1.0, state.rate, state.pace) / 2

    async def _balance(self, queue: str, state: _QueueState, demand: Demand) -> bool:
        """Share the queue's slots among its tenants if that is needed. Returns whether it begins now."""
        if time.monotonic() - state.balanced_at < BALANCE_EVERY_S:
            return False
        state.balanced_at = time.monotonic()
        balanced = await sharing.balance(self._db, queue, demand, preempting=queue not in QUEUES_NOT_PREEMPTED)
        if balanced.begun:
            logger.info("dispatch.shared", queue=queue)
        if balanced.asked:
            metrics.jobs_preempted.labels(queue).inc(len(balanced.asked))
            logger.info("dispatch.preempted", queue=queue, jobs=len(balanced.asked))
            await self._bus.publish(cancel_subject(queue), encode_preemptions(balanced.asked))
        return balanced.begun

    async def _pick_and_publish(self, queue: str, state: _QueueState, demand: Demand) -> int:
        """Fill the queue's room in parts, so that the first tickets do not wait for the last. Returns how many."""
        picked = 0
        while picked < state.room:
            part = min(PICKED_AT_A_TIME, state.room - picked)
            ids, state.last_tenant = await pick(self._db, queue, part, demand, after=state.last_tenant)
            await self._publish(queue, ids, "due")
            picked += len(ids)
            if len(ids) < part:
                break
        return picked

    async def _publish(self, queue: str, ids: Sequence[UUID], reason: str) -> None:
        if ids and await self._bus.publish_tickets(queue, ids):
            metrics.tickets_published.labels(queue, reason).inc(len(ids))


@contextmanager
def _accept_spans(jobs: Sequence[NewJob]) -> Iterator[None]:
    """Of each request in a sampled trace, as a batch has many: the time that the commit took."""
    with ExitStack() as ended:
        for job in jobs:
            if job.trace is not None and tracing.is_sampled(job.trace):
                request = Place.of(job.trace)
                place = Place(request.trace_id, tracing.new_span_id())
                span = Span("accept", Kind.INTERNAL, place, parent_id=request.span_id)
                span.set(queue=job.queue, batch=len(jobs))
                ended.enter_context(span)
        yield


def _may_starve(stream: StreamState, demand: Demand) -> bool:
    """Whether a tenant may have waited too long for a slot: only then is it looked at more closely."""
    if demand.paused or not demand.slots:
        return False
    waits_for_cap = demand.max_running is not None and demand.backlog
    return demand.shared or waits_for_cap or (stream.oldest_age_s or 0.0) >= sharing.WAITED_S


def _size_window(state: _QueueState, stream: StreamState, demand: Demand) -> None:
    """Allow `WINDOW_S` of work at the rate at which tickets are taken; more if the workers ran out of tickets.

    Of long jobs, two for each slot are enough, and more would be ahead of what is sent next: slots that have not
    taken more than one ticket since the last look have not run out of them.
    """
    now = time.monotonic()
    passed_s, took = now - state.seen_at, stream.taken - state.taken
    state.seen_at, state.taken = now, stream.taken
    share = min(1.0, passed_s)  # weight of the latest value in a mean over about a second
    if took >= 0:  # it is negative if the stream was created anew
        state.pace = took / passed_s
        state.rate += (state.pace - state.rate) * share
    ran_dry = demand.backlog and stream.depth == 0 and took > demand.slots > 0 and not demand.shared
    shrunk = state.window * (1 - share / 2)
    wanted = state.window * 4.0 if ran_dry else max(state.rate * WINDOW_S, shrunk)
    smallest = 2 * demand.slots or TICKETS_WITHOUT_WORKERS
    state.window = min(WINDOW_LARGEST, max(smallest, int(wanted)))
