"""Limits how many messages are in flight to one domain, over all jobs of a process.

A domain's concurrency window starts small. It grows by one with each prompt reply, and is halved when a reply does
not come, as in Postfix's scheduler (https://www.postfix.org/SCHEDULER_README.html). So a domain that hangs holds
few connections, and a domain that replies promptly can use all of them.
"""

import asyncio
import math
import time
from dataclasses import dataclass, field

BEGIN_WITH = 5
PROMPT_S = 10.0
TRUSTED_FOR_S = 60.0
"""After this long without mail, the window of a domain shrinks to its initial size again."""
REMEMBERED_AT_MOST = 10_000


@dataclass(slots=True)
class _Domain:
    window: int
    in_flight: int = 0
    idle_since: float = 0.0
    waiters: dict[asyncio.Event, None] = field(default_factory=dict)
    """Events to set when there is room, in order of arrival."""


class DomainSlots:
    """Counts the messages in flight, by domain. A domain whose window has grown to `most` is not limited."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin_with = max(1, min(BEGIN_WITH, most // 2))
        self._domains: dict[str, _Domain] = {}

    def load(self, domain: str) -> int:
        """Return the number of messages in flight to `domain`."""
        known = self._domains.get(domain)
        return 0 if known is None else known.in_flight

    def has_room(self, domain: str) -> bool:
        """Whether one more message may be sent to `domain` now."""
        known = self._domains.get(domain)
        return known is None or known.in_flight < known.window or known.window >= self._most

    def when_room(self, domain: str, wakeup: asyncio.Event) -> None:
        """Set `wakeup` as soon as there is room. To be called only while there is none."""
        self._domains[domain].waiters[wakeup] = None

    def enter(self, domain: str) -> None:
        """Count one more message in flight. `leave` must follow."""
        known = self._domains.get(domain)
        if known is None:
            self._forget_idle()
            known = self._domains[domain] = _Domain(self._begin_with)
        elif not known.in_flight and time.monotonic() - known.idle_since > TRUSTED_FOR_S:
            known.window = min(known.window, self._begin_with)
        known.in_flight += 1

    def leave(self, domain: str, answered_s: float | None, own: asyncio.Event) -> bool:
        """Count one message less, and adapt the window.

        `answered_s`: seconds until the reply; infinity if none came, None if nothing was sent.
        If there is room now, all waiters are woken; the caller's own event `own` only if no other waits. Returns
        whether others were woken.
        """
        known = self._domains[domain]
        known.in_flight -= 1
        known.idle_since = time.monotonic()
        if answered_s == math.inf:
            known.window = max(1, known.window // 2)
        elif answered_s is not None and answered_s <= PROMPT_S:
            known.window = min(self._most, known.window + 1)
        if not self.has_room(domain):
            return False
        others = [wakeup for wakeup in known.waiters if wakeup is not own]
        for wakeup in others or list(known.waiters):
            known.waiters.pop(wakeup)
            wakeup.set()
        return bool(others)

    def _forget_idle(self) -> None:
        if len(self._domains) >= REMEMBERED_AT_MOST:
            self._domains = {name: known for name, known in self._domains.items() if known.in_flight}
