"""Accepting jobs and keeping the conveyor supplied.

A job is committed to the ledger first. Where its queue has no backlog its ticket follows at once (the fast
path); otherwise it waits in the ledger, and `Dispatcher.run` moves it on when its turn comes. The same loop
serves due times, retries, lost tickets and the jobs of dead workers. Every gateway replica runs it; they
skip each other's rows.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from libs.common import log, metrics
from libs.common.backoff import until_available
from libs.common.batching import Batcher
from libs.common.bus import Bus, StreamState
from libs.common.db import Database
from libs.common.errors import Unavailable
from libs.common.ledger import dispatch, flows, replays, schedules
from libs.common.ledger.accept import Accepted, accept
from libs.common.ledger.claim import HEARTBEAT_EVERY_S
from libs.common.ledger.dispatch import Demand
from libs.common.ledger.jobs import NewJob
from libs.common.ledger.picking import WINDOW_LARGEST, pick

ROUND_S = 0.25
BUSY_ROUND_S = 0.02
AWAITED_ROUND_S = 0.05
DOWN_ROUND_S = 1.0
"""Seconds between two looks at the queues: as a rule; where workers may run dry; where work waits for the first
worker to come; where a server is away."""
TIDY_EVERY_S = 1.0
"""Seconds between two searches for lost tickets and dead workers."""
WINDOW_S = 2.0
"""How many seconds of work may lie on the conveyor. The rest stays where it can be ordered and cancelled."""
PICKED_AT_A_TIME = 1_000
LOST_AFTER_S = 3.0
"""A ticket this much older than the oldest one on the conveyor is not there any more."""
REPUBLISH_AT_MOST = 5_000
COMMITS = 2
"""Commits under way at once: while the disk takes one, the next is prepared."""
ACCEPT_PATIENCE_S = 3.0
"""How long an accept waits for PostgreSQL to come back before the caller is told 503."""

logger = log.get("dispatcher")

T = TypeVar("T")


@dataclass(slots=True)
class _QueueState:
    """What this process knows of one queue since its last look."""

    open: bool = False
    """Nothing waits without a ticket and nothing is capped, so a new job's ticket may go out at once."""
    room: int = 0
    """How many tickets may still go out before the next look."""
    window: int = 0
    rate: float = 0.0
    pace: float = 0.0
    """Tickets taken a second: a mean over about a second, and since the last look."""
    taken: int = 0
    seen_at: float = float("-inf")
    last: str = ""
    """The tenant served last: the next round begins after it."""


class Dispatcher:
    """Accepts jobs of `queues` and supplies their conveyors."""

    def __init__(self, database: Database, bus: Bus, queues: Sequence[str]) -> None:
        self._db = database
        self._bus = bus
        self._queues = {queue: _QueueState() for queue in queues}
        self._accepting = Batcher(self._accept, at_once=COMMITS)
        self._tidied_at = float("-inf")
        self._answered_at = float("-inf")
        self._silent_until = float("-inf")

    @property
    def answered(self) -> bool:
        """Whether the ledger has answered lately."""
        return time.monotonic() - self._answered_at < 5 * DOWN_ROUND_S

    def accept(self, job: NewJob) -> "asyncio.Future[Accepted]":
        """Commit `job`; done when it is safe. Raises Unavailable: it may then have been committed or not."""
        return self._accepting(job)

    def look_again(self, queue: str) -> None:
        """The queue was paused or capped: nothing goes out before the next look, at every gateway."""
        self._queues[queue].open = False

    async def _accept(self, jobs: list[NewJob]) -> list[Accepted]:
        ticketed = [self._claim_room(job) for job in jobs]
        accepted = await until_available(
            lambda: accept(self._db, jobs, ticketed=ticketed), patience_s=ACCEPT_PATIENCE_S
        )
        by_queue: dict[str, list[UUID]] = {}
        for job, mark, answer in zip(jobs, ticketed, accepted, strict=True):
            if mark and answer.id == job.id:
                by_queue.setdefault(job.queue, []).append(job.id)
        for queue, ids in by_queue.items():
            await self._publish(queue, ids, "accepted")
        return accepted

    def _claim_room(self, job: NewJob) -> bool:
        state = self._queues[job.queue]
        if job.run_at is not None or not state.open or state.room <= 0 or not self._bus.connected:
            return False
        state.room -= 1
        return True

    async def run(self) -> None:
        """Supply the conveyors for ever."""
        while True:
            wait_s = ROUND_S
            try:
                await dispatch.promote_due(self._db)
                self._note_answer()
                if time.monotonic() - self._tidied_at >= TIDY_EVERY_S:
                    for part in (self._recover, self._wake, self._fire, self._replay, self._republish_lost):
                        await self._guarded(part)
                    self._tidied_at = time.monotonic()
                for queue, state in self._queues.items():
                    wanted_s = await self._guarded(lambda q=queue, x=state: self._supply(q, x))  # type: ignore[misc]
                    wait_s = min(wait_s, ROUND_S if wanted_s is None else wanted_s)
            except Unavailable as error:
                for state in self._queues.values():
                    state.open = False
                logger.warning("dispatch.unavailable", error=str(error))
                wait_s = DOWN_ROUND_S
            await asyncio.sleep(max(BUSY_ROUND_S, wait_s))

    async def _guarded(self, part: Callable[[], Awaitable[T]]) -> T | None:
        """Its answer; None where it has a bug, which must not stop the parts beside it. Raises Unavailable."""
        try:
            return await part()
        except Unavailable:
            raise
        except Exception:
            logger.exception("dispatch.bug")
            return None

    def _note_answer(self) -> None:
        """The ledger answers. After an outage the workers need a moment too, to show that they still live."""
        now = time.monotonic()
        if now - self._answered_at > 2 * DOWN_ROUND_S and self._answered_at > 0:
            self._silent_until = now + HEARTBEAT_EVERY_S + DOWN_ROUND_S
        self._answered_at = now

    async def _recover(self) -> None:
        """Give the jobs of dead workers back."""
        if time.monotonic() < self._silent_until:
            return
        recovered = await dispatch.recover(self._db)
        if recovered:
            metrics.jobs_recovered.inc(recovered)
            logger.warning("dispatch.recovered", jobs=recovered)

    async def _wake(self) -> None:
        """Queue the jobs whose children have ended, where the worker that ended the last one could not."""
        for job_id, queue in await flows.wake(self._db):
            await self._publish(queue, [job_id], "due")

    async def _fire(self) -> None:
        """Make the recurring jobs whose time has come."""
        fired = await schedules.fire(self._db)
        for late_s in fired.late_s:
            metrics.schedule_late_seconds.observe(max(0.0, late_s))
        metrics.schedule_missed.inc(fired.missed)

    async def _replay(self) -> None:
        """Release what bulk retries may release now."""
        await replays.release(self._db)

    async def _republish_lost(self) -> None:
        """Publish again the tickets that the conveyor has lost."""
        for queue in self._queues:
            stream = await self._bus.stream_state(queue)
            lost = await dispatch.reissue_lost_tickets(
                self._db, queue, stream.oldest, LOST_AFTER_S, REPUBLISH_AT_MOST
            )
            await self._publish(queue, lost, "lost")

    async def _supply(self, queue: str, state: _QueueState) -> float:
        """Bring one queue's conveyor up to its window. In how many seconds it should be looked at again."""
        demand = await dispatch.demand(self._db, queue)
        stream = await self._bus.stream_state(queue)
        metrics.conveyor_depth.labels(queue).set(stream.depth)
        _size_window(state, stream, demand)
        state.room = 0 if demand.paused else max(0, state.window - stream.depth)
        state.open = not (demand.backlog or demand.paused or demand.capped)
        if not demand.backlog:
            return ROUND_S
        if not state.room:
            return ROUND_S if demand.slots or demand.paused else AWAITED_ROUND_S
        picked = await self._pick_and_publish(queue, state, demand)
        if not stream.depth or demand.capped:  # it had run dry, or places become free one by one
            return BUSY_ROUND_S if picked else ROUND_S
        return (stream.depth + picked) / max(1.0, state.rate, state.pace) / 2

    async def _pick_and_publish(self, queue: str, state: _QueueState, demand: Demand) -> int:
        """Fill the lane's room, a part at a time, so that the first tickets do not wait for the last; how many."""
        picked = 0
        while picked < state.room:
            part = min(PICKED_AT_A_TIME, state.room - picked)
            ids, state.last = await pick(self._db, queue, part, demand, after=state.last)
            await self._publish(queue, ids, "due")
            picked += len(ids)
            if len(ids) < part:
                break
        return picked

    async def _publish(self, queue: str, ids: Sequence[UUID], reason: str) -> None:
        if ids and await self._bus.publish_tickets(queue, ids):
            metrics.tickets_published.labels(queue, reason).inc(len(ids))


def _size_window(state: _QueueState, stream: StreamState, demand: Demand) -> None:
    """Allow `WINDOW_S` of work at the rate tickets are being taken; more if the workers ran dry."""
    now = time.monotonic()
    passed_s, took = now - state.seen_at, stream.taken - state.taken
    state.seen_at, state.taken = now, stream.taken
    share = min(1.0, passed_s)  # of the present in a mean over about a second
    if took >= 0:  # less than before: the conveyor is a new one
        state.pace = took / passed_s
        state.rate += (state.pace - state.rate) * share
    ran_dry = demand.backlog and stream.depth == 0 and demand.slots > 0
    shrunk = state.window * (1 - share / 2)
    wanted = state.window * 4.0 if ran_dry else max(state.rate * WINDOW_S, shrunk)
    smallest = max(2 * demand.slots, 8)
    state.window = min(WINDOW_LARGEST, max(smallest, int(wanted)))
