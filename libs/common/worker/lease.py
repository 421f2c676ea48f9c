"""The lease of a worker process: its row in the ledger, and the jobs that it holds.

It sends heartbeats, stores and publishes progress, receives what to stop, and enforces timeouts. It does each of
these for all jobs of the process together.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from libs.common import background, log
from libs.common.backoff import until_available
from libs.common.bus import Bus
from libs.common.contracts.events import cancel_subject, decode_stops, encode_events, events_subject
from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger.claim import HEARTBEAT_EVERY_S, LEASE_S, Claim
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.jobs import State, new_id

TELL_EVERY_S = 0.2
"""How often the progress of all jobs is published to followers."""
LEFT_WITHIN_S = 2.0
"""How long a stopping process tries to deregister."""
STOP_AGAIN_AFTER_S = 5.0
"""How long a cancelled handler may clean up before it is cancelled once more."""
KEEP_EVERY_S = 1.0
"""How often timeouts are checked and progress is stored. One check of all jobs is cheaper than a timer per job."""

logger = log.get("lease")

Key = tuple[UUID, int]
"""A job id and its attempt."""
Event = tuple[str, str | None, dict[str, Any] | None]
"""Job id in hex, new state, progress; see contracts.events."""


class Stop(Enum):
    """Why a handler is stopped."""

    CANCELLED = "a cancel was requested"
    PREEMPTED = "another tenant has waited too long for a slot"
    LOST = "another worker may hold the job by now"
    SHUTDOWN = "the grace time of the shutdown is over"
    TIMEOUT = "the job's timeout has passed"


@dataclass(slots=True, eq=False)
class Running:
    """A claimed job in this process. `started` and `stopped_at` are values of time.perf_counter()."""

    claim: Claim
    started: float
    task: asyncio.Task[None] | None = None
    in_handler: bool = False
    stopped_for: Stop | None = None
    stopped_at: float = 0.0
    progress: dict[str, Any] | None = None

    def stop(self, reason: Stop) -> None:
        """Cancel the handler. Further calls cancel it again, every STOP_AGAIN_AFTER_S at most.

        A handler that has not begun will not be started.
        """
        now = time.perf_counter()
        if self.stopped_for is None or now - self.stopped_at >= STOP_AGAIN_AFTER_S:
            self.stopped_for = self.stopped_for or reason
            self.stopped_at = now
            if self.in_handler and self.task is not None:
                self.task.cancel()


class Lease:
    """The jobs that this process holds. `worker` is part of the fencing token and changes if the lease is lost."""

    def __init__(
        self, database: Database, bus: Bus, queue: str, slots: int, offers: leases.Offers | None = None
    ) -> None:
        self.worker = new_id()
        self.held: dict[Key, Running] = {}
        self._db = database
        self._bus = bus
        self._queue = queue
        self._slots = slots
        self._offers = self._untold = offers
        self._renewed_at = float("-inf")
        self._unstored: set[Key] = set()
        self._unpublished: set[Key] = set()
        self._unknown: set[Key] = set()

    @property
    def valid(self) -> bool:
        """Whether the last heartbeat is recent enough for the ledger to consider this process alive."""
        return time.monotonic() - self._renewed_at < LEASE_S

    def progressed(self, running: Running, progress: dict[str, Any]) -> None:
        """Note the progress that a handler reports. It is stored and published with the next round."""
        running.progress = progress
        key = running.claim.id, running.claim.attempt
        self._unstored.add(key)
        self._unpublished.add(key)

    async def tell(self, events: Sequence[Event]) -> None:
        """Publish `events` to the followers of these jobs. A loss is not reported."""
        if events:
            await self._bus.publish(events_subject(self._queue), encode_events(events))

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Register this process, and keep its lease while the block runs. Waits for PostgreSQL and NATS."""
        await until_available(self._register)
        try:
            async with (
                background.alongside(
                    background.essential(self._keep()),  # without it all jobs are lost, and taken in vain
                    background.essential(self._write()),  # without it claims that were lost stay here
                    background.optional(self._publish_progress()),  # followers still see each new state
                ),
                self._bus.listening(cancel_subject(self._queue), self._on_stops),
            ):
                yield
        finally:
            await self._deregister()

    async def _deregister(self) -> None:
        try:
            async with asyncio.timeout(LEFT_WITHIN_S):
                await until_available(lambda: leases.deregister(self._db, self.worker))
        except TimeoutError:  # the missing heartbeats will tell
            logger.warning("worker.not_deregistered", worker=str(self.worker))

    async def _register(self) -> None:
        sent_at = time.monotonic()
        host, pid = socket.gethostname(), os.getpid()
        await leases.register(self._db, self.worker, queue=self._queue, slots=self._slots, host=host, pid=pid)
        self._renewed_at = sent_at
        self._untold = self._offers
        logger.info("worker.registered", worker=str(self.worker), queue=self._queue, slots=self._slots)

    async def _keep(self) -> None:
        """Waits for no lock of a job: others may hold one for longer than a lease lasts."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            self._stop_overdue()
            with background.surviving("Lease._keep"):
                await self._renew()

    async def _write(self) -> None:
        """Write to the rows of jobs, and wait for whoever has locked them."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            for step in (self._release_unknown, self._store_progress, self._tell_offers):
                with background.surviving("Lease._write"):
                    await step()

    async def _tell_offers(self) -> None:
        """Not with the registration: who comes before the column does works all the same, and tells it later."""
        if self._untold is not None:
            await leases.tell_offers(self._db, self.worker, self._untold)
            self._untold = None

    def _stop_overdue(self) -> None:
        now = time.perf_counter()
        for running in self.held.values():
            if running.stopped_for is not None or now - running.started > running.claim.timeout_s:
                running.stop(running.stopped_for or Stop.TIMEOUT)

    async def _store_progress(self) -> None:
        keys, self._unstored = self._unstored, set()
        latest = {key: running.progress for key in keys if (running := self.held.get(key)) and running.progress}
        if latest:
            await leases.store_progress(self._db, self.worker, latest)

    async def _publish_progress(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            keys, self._unpublished = self._unpublished, set()
            held = [running for key in keys if (running := self.held.get(key))]
            with background.surviving("Lease._publish_progress"):
                await self.tell([(running.claim.id.hex, None, running.progress) for running in held])

    def _on_stops(self, message: bytes) -> None:
        unwanted = set(decode_stops(message))
        for (job_id, attempt), running in self.held.items():
            if (job_id, None) in unwanted:
                running.stop(Stop.CANCELLED)
            elif (job_id, attempt) in unwanted:
                running.stop(Stop.PREEMPTED)

    async def _renew(self) -> None:
        """Send a heartbeat if it is due. Stop the jobs that are lost, to be cancelled or to give way."""
        if time.monotonic() - self._renewed_at < HEARTBEAT_EVERY_S:
            return
        held_before = list(self.held.items())
        sent_at = time.monotonic()
        reply = await leases.heartbeat(self._db, self.worker)
        if reply is None:
            logger.warning("lease.lost", jobs=len(held_before))
            self.worker = new_id()
            await self._register()
            for _, running in held_before:
                running.stop(Stop.LOST)
            return
        self._renewed_at = sent_at
        for key, running in held_before:
            if key not in reply.held:
                running.stop(Stop.LOST)
            elif key in reply.cancelled:
                running.stop(Stop.CANCELLED)
            elif key in reply.preempted:
                running.stop(Stop.PREEMPTED)
        self._unknown = {key for key in reply.settled if key not in self.held}

    async def _release_unknown(self) -> None:
        """Release claims whose reply was lost: this process does not run these jobs."""
        keys, self._unknown = self._unknown, set()
        unknown = [Outcome(*key, State.QUEUED) for key in keys if key not in self.held]
        if unknown:
            await finish(self._db, self.worker, unknown)
