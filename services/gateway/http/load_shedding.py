"""Load shedding: requests beyond the capacity are refused at once, the least urgent first.

A caller that submits can retry later; one that reads a job's status or cancels it should not have to. So submits
are refused first, then lists and management, and status and cancel last (https://stripe.com/blog/rate-limiters).
"""

import asyncio
import time
from enum import Enum

from libs.common import metrics
from services.gateway.problems import Overloaded

CHECK_EVERY_S = 0.1
LATE_AFTER_S = 1.0
"""Seconds of event-loop lag, averaged over about a second, from which the process is overloaded."""


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
