"""How many messages may be under way to one domain, of all jobs of a process together.

A domain begins with a few and gets one more for each prompt answer, half as many for one that never comes, as in
Postfix's scheduler (https://www.postfix.org/SCHEDULER_README.html). So one that hangs holds few connections, and
one that answers soon has as many as there are.
"""

import asyncio
import math
import time
from dataclasses import dataclass, field

BEGIN_WITH = 5
PROMPT_S = 10.0
TRUSTED_FOR_S = 60.0
"""After so long without mail a domain has to prove anew that it answers."""
REMEMBERED_AT_MOST = 10_000


@dataclass(slots=True)
class _Domain:
    window: int
    under_way: int = 0
    idle_since: float = 0.0
    listeners: dict[asyncio.Event, None] = field(default_factory=dict)
    """In the order in which they came."""


class DomainSlots:
    """Messages under way, by domain. `most`: a domain that has proved to answer may have as many, and more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin_with = max(1, min(BEGIN_WITH, most // 2))
        self._domains: dict[str, _Domain] = {}

    def load(self, domain: str) -> int:
        """How many are under way there."""
        known = self._domains.get(domain)
        return 0 if known is None else known.under_way

    def has_room(self, domain: str) -> bool:
        """Whether one more may go there now."""
        known = self._domains.get(domain)
        return known is None or known.under_way < known.window or known.window >= self._most

    def when_room(self, domain: str, news: asyncio.Event) -> None:
        """Set `news` as soon as there is room; there is none now."""
        self._domains[domain].listeners[news] = None

    def enter(self, domain: str) -> None:
        """One more; `leave` must follow."""
        known = self._domains.get(domain)
        if known is None:
            self._forget_idle()
            known = self._domains[domain] = _Domain(self._begin_with)
        elif not known.under_way and time.monotonic() - known.idle_since > TRUSTED_FOR_S:
            known.window = min(known.window, self._begin_with)
        known.under_way += 1

    def leave(self, domain: str, answered_s: float | None, mine: asyncio.Event) -> bool:
        """One less: answered after so many seconds, infinite for never; None: nobody was asked.

        If there is room now, those who wait for it hear of it, `mine` last. Whether there are others.
        """
        known = self._domains[domain]
        known.under_way -= 1
        known.idle_since = time.monotonic()
        if answered_s == math.inf:
            known.window = max(1, known.window // 2)
        elif answered_s is not None and answered_s <= PROMPT_S:
            known.window = min(self._most, known.window + 1)
        if not self.has_room(domain):
            return False
        others = [news for news in known.listeners if news is not mine]
        for news in others or list(known.listeners):
            known.listeners.pop(news)
            news.set()
        return bool(others)

    def _forget_idle(self) -> None:
        if len(self._domains) >= REMEMBERED_AT_MOST:
            self._domains = {name: known for name, known in self._domains.items() if known.under_way}
