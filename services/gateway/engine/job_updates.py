"""Following jobs without asking the ledger for each follower.

Workers tell what happens on `events.*`, many jobs in a message. Who follows a job waits for its news here; a
new state is read from the ledger, for all jobs that wait together in one statement. Should a message be
lost, the states of all followed jobs are compared once in RECHECK_S, again in one statement.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from libs.common import log, metrics
from libs.common.batching import Batcher
from libs.common.bus import Bus
from libs.common.contracts.events import decode_events, events_subject
from libs.common.db import Database
from libs.common.errors import Unavailable
from libs.common.ledger import jobs
from libs.common.ledger.jobs import JobFacts, State

RECHECK_S = 2.0

Version = tuple[str, int, int, int | None]
"""What makes a job's facts new: its state, its attempt, and the failures so far."""

logger = log.get("job_updates")


class Follower:
    """One caller's view of one job: the facts it has not seen yet."""

    def __init__(self) -> None:
        self._facts: JobFacts | None = None
        self._progress: dict[str, Any] | None = None
        self._news = asyncio.Event()
        self.seen: Version | None = None
        self.gone = False
        """The job is no longer in the ledger."""

    def tell(self, facts: JobFacts) -> None:
        """There are new facts, unless they have been seen."""
        if _version(facts) != self.seen:
            self._facts = facts
            self._news.set()

    def tell_progress(self, progress: dict[str, Any]) -> None:
        """The running attempt has come further."""
        self._progress = progress
        self._news.set()

    async def next(self, timeout_s: float) -> tuple[JobFacts | None, dict[str, Any] | None]:
        """The latest facts and the latest progress since the last call; neither after `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return None, None
        self._news.clear()
        facts, progress = self._facts, self._progress
        self._facts = self._progress = None
        if facts is not None:
            self.seen = _version(facts)
        return facts, progress

    async def news(self, for_s: float) -> AsyncIterator[tuple[JobFacts | None, dict[str, Any] | None]]:
        """Everything that comes within `for_s` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + for_s
        while not self.gone and (left_s := deadline - loop.time()) > 0:
            yield await self.next(left_s)

    def tell_gone(self) -> None:
        """There will be no more news."""
        self.gone = True
        self._news.set()

    def wake(self) -> None:
        """End the present wait with nothing new."""
        self._news.set()


class JobUpdates:
    """Everybody at this gateway who follows a job."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._db = database
        self._bus = bus
        self._followers: dict[str, set[Follower]] = {}
        self._reading: Batcher[UUID, JobFacts | None] = Batcher(self._read)
        metrics.followers.set_function(lambda: sum(map(len, self._followers.values())))

    @contextmanager
    def follow(self, facts: JobFacts) -> Iterator[Follower]:
        """Follow a job while the block runs. The present facts come first, anew: nothing in between is missed."""
        job_id: UUID = facts["id"]
        follower = Follower()
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
        """These jobs have changed here: no worker will tell of it."""
        for job_id in ids:
            if job_id.hex in self._followers:
                self._refresh(job_id)

    def wake_all(self) -> None:
        """Let every follower look up, because this gateway is about to stop."""
        for followers in self._followers.values():
            for follower in followers:
                follower.wake()

    async def listen(self) -> None:
        """Run for ever: hear the workers."""
        async with self._bus.listening(events_subject("*"), self._hear):
            await asyncio.Event().wait()

    def _hear(self, message: bytes) -> None:
        if not self._followers:
            return
        for job, state, progress in decode_events(message):
            if job in self._followers:
                if state is not None:
                    self._refresh(UUID(hex=job))
                elif progress is not None:
                    for follower in self._followers[job]:
                        follower.tell_progress(progress)

    def _refresh(self, job_id: UUID) -> None:
        self._reading(job_id).add_done_callback(self._deliver)

    def _deliver(self, reading: "asyncio.Future[JobFacts | None]") -> None:
        if reading.cancelled() or reading.exception() is not None:
            return  # the recheck asks again
        facts = reading.result()
        if facts is not None:
            for follower in self._followers.get(facts["id"].hex, ()):
                follower.tell(facts)

    async def _read(self, ids: list[UUID]) -> list[JobFacts | None]:
        found = await jobs.read(self._db, list(dict.fromkeys(ids)))
        return [found.get(job_id) for job_id in ids]

    async def recheck(self) -> None:
        """Run for ever: look up what is followed, in case a message was lost."""
        while True:
            await asyncio.sleep(RECHECK_S)
            if not self._followers:
                continue
            try:
                asked = list(self._followers)
                versions = await jobs.versions(self._db, [UUID(hex=job) for job in asked])
            except Unavailable as error:
                logger.warning("recheck.unavailable", error=str(error))
                continue
            except Exception:  # whatever it is, this must go on, or a lost message is lost
                logger.exception("recheck.bug")
                continue
            self._compare({job_id.hex: tuple(version) for job_id, *version in versions}, asked)

    def _compare(self, versions: dict[str, tuple[Any, ...]], asked: list[str]) -> None:
        """Refresh the jobs whose followers have not seen what is in the ledger now."""
        for job in asked:
            for follower in self._followers.get(job, ()):
                if job not in versions:
                    follower.tell_gone()
                elif follower.seen != versions[job]:
                    self._refresh(UUID(hex=job))
                    break


def _version(facts: JobFacts) -> Version:
    done = (facts["progress"] or {}).get("done") if facts["state"] == State.WAITING else None
    return facts["state"], facts["attempt"], facts["failures"], done
