"""Load shedding: requests beyond the capacity are refused at once, the least urgent first.

A caller that submits can retry later; one that reads a job's status or cancels it should not have to. So submits
are refused first, then lists and management, and status and cancel last (https://stripe.com/blog/rate-limiters).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum
from weakref import WeakValueDictionary

from libs.common import metrics
from services.gateway.problems import Overloaded

CHECK_EVERY_S = 0.1
LATE_AFTER_S = 1.0
"""Seconds of event-loop lag, averaged over about a second, from which the process is overloaded."""
PLACE_WITHIN_S = 10.0
"""How long a request waits for a place for its large body. The time that the body has to arrive goes on."""


class Urgency(Enum):
    """The share of the capacity up to which requests of this urgency are admitted."""

    SUBMIT = 0.6
    MANAGE = 0.8
    STATUS = 1.0


class LoadShedder:
    """Counts the requests in flight, which may be `max_in_flight`."""

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._late_s = 0.0
        metrics.requests_in_flight.set_function(lambda: self._in_flight)
        refused = (*(urgency.name.lower() for urgency in Urgency), "large_body")
        metrics.show_from_the_start(metrics.requests_shed, urgency=refused)

    def admit(self, urgency: Urgency) -> None:
        """Count one more request, until its `release`. Raises Overloaded."""
        late = self._late_s > LATE_AFTER_S and urgency is not Urgency.STATUS
        if late or self._in_flight >= self._max_in_flight * urgency.value:
            metrics.requests_shed.labels(urgency.name.lower()).inc()
            raise Overloaded
        self._in_flight += 1

    def release(self) -> None:
        """Count one request less."""
        self._in_flight -= 1

    async def watch(self) -> None:
        """Measure the event loop's lag, for ever."""
        while True:
            due = time.monotonic() + CHECK_EVERY_S
            await asyncio.sleep(CHECK_EVERY_S)
            self._late_s += (time.monotonic() - due - self._late_s) / 10


class LargeBodies:
    """The places for large bodies in this process: `at_once`, half of them for one tenant."""

    def __init__(self, at_once: int) -> None:
        self._of_a_tenant = max(1, at_once // 2)
        self._free = asyncio.Semaphore(at_once)
        self._tenants: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """Hold a place for `tenant` while the block runs. Raises Overloaded if none is free in time."""
        of_tenant = self._tenants.setdefault(tenant, asyncio.Semaphore(self._of_a_tenant))
        async with AsyncExitStack() as places:
            try:
                async with asyncio.timeout(PLACE_WITHIN_S):
                    await places.enter_async_context(of_tenant)
                    await places.enter_async_context(self._free)
            except TimeoutError:
                metrics.requests_shed.labels("large_body").inc()
                raise Overloaded("There are too many large bodies at once. Try again in a moment.") from None
            yield
