"""Load shedding: what cannot be carried is refused at once, the least urgent first.

Whoever submits can come again; whoever asks how a job goes, or wants it stopped, should not have to. So submits
are refused first, then what lists and manages, and status and cancel last (https://stripe.com/blog/rate-limiters).
"""

import asyncio
import time
from enum import Enum

from libs.common import metrics
from services.gateway.problems import Overloaded

LOOK_EVERY_S = 0.1
TOO_LATE_S = 1.0
"""An event loop this late, on average over the last second or so, has too much to do."""


class Urgency(Enum):
    """The share of what this process can carry up to which such requests are let in."""

    SUBMIT = 0.6
    MANAGE = 0.8
    STATUS = 1.0


class LoadShedder:
    """Counts the requests at hand. `most`: how many there may be."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._at_hand = 0
        self._late_s = 0.0
        metrics.requests_in_flight.set_function(lambda: self._at_hand)

    def admit(self, urgency: Urgency) -> None:
        """One request more, until it is let out. Raises Overloaded."""
        late = self._late_s > TOO_LATE_S and urgency is not Urgency.STATUS
        if late or self._at_hand >= self._most * urgency.value:
            metrics.requests_shed.labels(urgency.name.lower()).inc()
            raise Overloaded
        self._at_hand += 1

    def release(self) -> None:
        """It has been answered."""
        self._at_hand -= 1

    async def watch(self) -> None:
        """Run for ever: how late the event loop comes round."""
        while True:
            due = time.monotonic() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            self._late_s += (time.monotonic() - due - self._late_s) / 10
