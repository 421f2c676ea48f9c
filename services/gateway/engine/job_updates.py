"""Delivers job updates to followers without one ledger query per follower.

Workers publish what happens on `events.*`, many jobs in a message. Followers of a job wait here for its updates. A
new state is read from the ledger, for all waiting jobs in one statement. In case a message is lost, the states of
all followed jobs are compared every RECHECK_S, again in one statement.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from libs.common import background, metrics
from libs.common.batching import Batcher
from libs.common.bus import Bus
from libs.common.contracts.events import decode_events, events_subject
from libs.common.db import Database
from libs.common.ledger import jobs
from libs.common.ledger.jobs import JobFacts, State

RECHECK_S = 2.0

Version = tuple[str, int, int, int | None]
"""A job's state, attempt, failures and, while it waits, ended children. A change of it is an update."""


class Follower:
    """One caller that follows one job: the facts it has not seen yet."""

    def __init__(self) -> None:
        self._facts: JobFacts | None = None
        self._progress: dict[str, Any] | None = None
        self._changed = asyncio.Event()
        self.seen: Version | None = None
        self.gone = False
        """The job is no longer in the ledger."""

    def set_facts(self, facts: JobFacts) -> None:
        """Deliver `facts` unless the follower has seen this version."""
        if _version(facts) != self.seen:
            self._facts = facts
            self._changed.set()

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Deliver the progress of the running attempt."""
        self._progress = progress
        self._changed.set()

    async def next(self, timeout_s: float) -> tuple[JobFacts | None, dict[str, Any] | None]:
        """The latest facts and the latest progress since the last call; (None, None) after `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return None, None
        self._changed.clear()
        facts, progress = self._facts, self._progress
        self._facts = self._progress = None
        if facts is not None:
            self.seen = _version(facts)
        return facts, progress

    async def updates(self, for_s: float) -> AsyncIterator[tuple[JobFacts | None, dict[str, Any] | None]]:
        """Everything that `next` returns within `for_s` seconds, or until the job is gone."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + for_s
        while not self.gone and (left_s := deadline - loop.time()) > 0:
            yield await self.next(left_s)

    def set_gone(self) -> None:
        """End the updates, because the job is no longer in the ledger."""
        self.gone = True
        self._changed.set()

    def wake(self) -> None:
        """End the current wait, with nothing new."""
        self._changed.set()


class JobUpdates:
    """All followers at this gateway, by job."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._db = database
        self._bus = bus
        self._followers: dict[str, set[Follower]] = {}
        self._reading: Batcher[UUID, JobFacts | None] = Batcher(self._read)
        metrics.followers.set_function(lambda: sum(map(len, self._followers.values())))

    @contextmanager
    def follow(self, facts: JobFacts, *, has_seen: bool = False) -> Iterator[Follower]:
        """Follow a job while the block runs. Its facts are read again first, so that no change since is missed.

        `has_seen`: the follower knows `facts` already, and is told what differs from them.
        """
        job_id: UUID = facts["id"]
        follower = Follower()
        if has_seen:
            follower.seen = _version(facts)
        self._followers.setdefault(job_id.hex, set()).add(follower)
        self._refresh(job_id)
        try:
            yield follower
        finally:
            others = self._followers[job_id.hex]
            others.discard(follower)
            if not others:
                del self._followers[job_id.hex]

    def refresh(self, ids: Iterable[UUID]) -> None:
        """Read jobs again that this gateway has changed, because no worker will publish that."""
        for job_id in ids:
            if job_id.hex in self._followers:
                self._refresh(job_id)

    def wake_all(self) -> None:
        """End every follower's current wait, because this gateway is about to stop."""
        for followers in self._followers.values():
            for follower in followers:
                follower.wake()

    async def listen(self) -> None:
        """Receive the workers' events, for ever."""
        async with self._bus.listening(events_subject("*"), self._receive):
            await asyncio.Event().wait()

    def _receive(self, message: bytes) -> None:
        if not self._followers:
            return
        for job, state, progress in decode_events(message):
            if job in self._followers:
                if state is not None:
                    self._refresh(UUID(hex=job))
                elif progress is not None:
                    for follower in self._followers[job]:
                        follower.set_progress(progress)

    def _refresh(self, job_id: UUID) -> None:
        self._reading(job_id).add_done_callback(self._deliver)

    def _deliver(self, reading: "asyncio.Future[JobFacts | None]") -> None:
        if reading.cancelled() or reading.exception() is not None:
            return  # the recheck reads it again
        facts = reading.result()
        if facts is not None:
            for follower in self._followers.get(facts["id"].hex, ()):
                follower.set_facts(facts)

    async def _read(self, ids: list[UUID]) -> list[JobFacts | None]:
        found = await jobs.read(self._db, list(dict.fromkeys(ids)))
        return [found.get(job_id) for job_id in ids]

    async def recheck(self) -> None:
        """Compare followed jobs with the ledger, for ever, in case a message was lost."""
        while True:
            await asyncio.sleep(RECHECK_S)
            if self._followers:
                with background.surviving("JobUpdates.recheck"):
                    followed = list(self._followers)
                    versions = await jobs.versions(self._db, [UUID(hex=job) for job in followed])
                    self._compare({job_id.hex: tuple(version) for job_id, *version in versions}, followed)

    def _compare(self, versions: dict[str, tuple[Any, ...]], followed: list[str]) -> None:
        """Refresh the jobs whose followers have not seen the ledger's present version."""
        for job in followed:
            for follower in self._followers.get(job, ()):
                if job not in versions:
                    follower.set_gone()
                elif follower.seen != versions[job]:
                    self._refresh(UUID(hex=job))
                    break


def _version(facts: JobFacts) -> Version:
    done = (facts["progress"] or {}).get("done") if facts["state"] == State.WAITING else None
    return facts["state"], facts["attempt"], facts["failures"], done
