"""Makes few jobs of many requests with events.

A job costs the same whether it brings one event or a thousand. So events of a tenant that come within LINGER_S of
its last job wait for the next one, and go in it together. The first after a pause does not wait. A tenant has at
most one job on its way to the ledger, so that one with very many events does not delay the others.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID
from weakref import WeakValueDictionary

from libs.common import background
from libs.common.contracts.analytics import EVENTS_AT_MOST
from libs.common.contracts.services import ANALYTICS
from libs.common.errors import Unavailable
from libs.common.ledger.accept import Accepted
from libs.common.ledger.jobs import NewJob
from services.gateway.problems import Overloaded

LINGER_S = 0.25
"""Seconds from one job of a tenant to the next, unless there are enough events for a whole one."""
JOB_BYTES = 1024 * 1024
"""A job is whole with so many bytes of events, even if they are few."""
HELD_BYTES_AT_MOST = 64 * 1024 * 1024
"""Of all events in this process that are not committed yet. One tenant may have half of it."""


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one request. `text` has the JSON of each, with commas between them."""

    tenant: str
    created_by: str
    count: int
    text: bytes
    trace: str | None = None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def size(self) -> int:
        """Bytes of `text`."""
        return len(self.text)


@dataclass(slots=True)
class _Request:
    events: Events
    job: "asyncio.Future[UUID]"


class _Tenant:
    """The requests of one tenant that wait for a job."""

    work: asyncio.Task[None]

    def __init__(self) -> None:
        self.waiting: deque[_Request] = deque()
        self.count = 0
        self.bytes = 0
        """Events that wait, and their size."""
        self.held_bytes = 0
        """The size of events that wait or are being committed."""
        self.is_whole = asyncio.Event()
        """Whether the next job can be made without lingering."""

    def add(self, request: _Request) -> None:
        self.waiting.append(request)
        self._count(request, 1)
        self.held_bytes += request.events.size

    def take(self) -> list[_Request]:
        """The requests at the front that go into one job: one of them at least, none in part."""
        taken, count, size = list[_Request](), 0, 0
        while self.waiting:
            following = self.waiting[0]
            count, size = count + following.events.count, size + following.events.size
            if taken and (count > EVENTS_AT_MOST or size > JOB_BYTES):
                break
            taken.append(self.waiting.popleft())
            self._count(following, -1)
        return taken

    def _count(self, request: _Request, times: int) -> None:
        self.count += times * request.events.count
        self.bytes += times * request.events.size
        if self.count >= EVENTS_AT_MOST or self.bytes >= JOB_BYTES:
            self.is_whole.set()
        else:
            self.is_whole.clear()


class EventIntake:
    """Commits the events of requests by `accept`, which commits a job."""

    def __init__(self, accept: Callable[[NewJob], Awaitable[Accepted]]) -> None:
        self._accept = accept
        self._tenants: dict[str, _Tenant] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks = background.Tasks()
        self._held_bytes = 0
        self._stopping = False

    def turn_of(self, tenant: str) -> asyncio.Lock:
        """Held by the one request of `tenant` whose body is being read into events."""
        return self._turns.setdefault(tenant, asyncio.Lock())

    def __call__(self, events: Events) -> "asyncio.Future[UUID]":
        """Commit `events`. The future gets the id of their job when it is durable.

        Raises Overloaded; the future raises Unavailable: then they may be committed or not.
        """
        tenant = self._tenants.get(events.tenant) or _Tenant()
        if self._held_bytes >= HELD_BYTES_AT_MOST or tenant.held_bytes >= HELD_BYTES_AT_MOST // 2:
            raise Overloaded("Too many events wait to be stored. Try again in a moment.")
        request = _Request(events, asyncio.get_running_loop().create_future())
        tenant.add(request)
        self._held_bytes += events.size
        if events.tenant not in self._tenants:
            self._tenants[events.tenant] = tenant
            tenant.work = self._tasks.start(self._work_off(events.tenant, tenant))
        return request.job

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """At the end of the block, commit all that waits, without lingering."""
        try:
            yield
        finally:
            self._stopping = True
            for tenant in self._tenants.values():
                tenant.is_whole.set()
            while self._tenants:
                await asyncio.wait([tenant.work for tenant in self._tenants.values()])

    async def _work_off(self, name: str, tenant: _Tenant) -> None:
        """Make jobs of what waits, until nothing has come for LINGER_S."""
        loop = asyncio.get_running_loop()
        try:
            while tenant.waiting:
                begun = loop.time()
                taken = tenant.take()
                await self._commit(taken)
                size = sum(request.events.size for request in taken)
                tenant.held_bytes -= size
                self._held_bytes -= size
                if not self._stopping:
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(begun + LINGER_S):
                            await tenant.is_whole.wait()
        finally:
            del self._tenants[name]
            for request in tenant.waiting:  # cancelled: no caller may be left waiting
                request.job.cancel()

    async def _commit(self, requests: Sequence[_Request]) -> None:
        """Commit `requests` as one job, or each as its own if PostgreSQL refuses that one."""
        try:
            accepted = await self._accept(_job([request.events for request in requests]))
        except Exception as error:
            if len(requests) > 1 and not isinstance(error, Unavailable):
                for request in requests:
                    await self._commit([request])
                return
            for request in requests:
                if not request.job.done():
                    request.job.set_exception(error)
        else:
            for request in requests:
                if not request.job.done():
                    request.job.set_result(accepted.id)
        finally:
            for request in requests:
                request.job.cancel()


def _job(requests: Sequence[Events]) -> NewJob:
    first = requests[0]
    begin = b'{"kind":"events","received_at":"%s","events":[' % first.received_at.isoformat().encode()
    return NewJob(
        tenant=first.tenant,
        created_by=first.created_by,
        queue=ANALYTICS.name,
        kind="events",
        payload=begin + b",".join(events.text for events in requests) + b"]}",
        trace=first.trace,
    )
