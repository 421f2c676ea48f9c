"""How many messages may be under way to one domain, of all jobs of a process together.

A domain begins with a few and gets one more for each prompt answer, half as many for one that never comes, as in
Postfix's scheduler (https://www.postfix.org/SCHEDULER_README.html). So one that hangs holds few connections, and
one that answers soon has as many as there are.
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field

BEGIN_WITH = 5
PROMPT_S = 10.0


@dataclass(slots=True)
class _Domain:
    window: int = BEGIN_WITH
    under_way: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Traffic:
    """Messages under way, by domain. `most`: a domain that has proved to answer may have as many, and more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._domains: dict[str, _Domain] = {}

    def load(self, domain: str) -> int:
        """How many are under way there, or wait to be."""
        known = self._domains.get(domain)
        return 0 if known is None else known.under_way + len(known.waiting)

    def enter(self, domain: str) -> bool:
        """Send one more, if there is room at once; `leave` must follow."""
        known = self._domains.setdefault(domain, _Domain())
        if known.waiting or not self._has_room(known):
            return False
        known.under_way += 1
        return True

    async def wait(self, domain: str) -> None:
        """Send one more as soon as there is room, in the order of those who wait; `leave` must follow."""
        known = self._domains.setdefault(domain, _Domain())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        known.waiting.append(turn)
        self._let_in(known)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                known.under_way -= 1
            else:
                known.waiting.remove(turn)
            self._tidy(domain, known)
            raise

    def leave(self, domain: str, answered_s: float | None) -> None:
        """One less: answered after so many seconds, infinite for never; None: nobody was asked."""
        known = self._domains[domain]
        known.under_way -= 1
        if answered_s == math.inf:
            known.window = max(1, known.window // 2)
        elif answered_s is not None and answered_s <= PROMPT_S:
            known.window = min(self._most, known.window + 1)
        self._tidy(domain, known)

    def _has_room(self, known: _Domain) -> bool:
        return known.under_way < known.window or known.window >= self._most

    def _let_in(self, known: _Domain) -> None:
        while known.waiting and self._has_room(known):
            known.under_way += 1
            known.waiting.popleft().set_result(None)

    def _tidy(self, domain: str, known: _Domain) -> None:
        self._let_in(known)
        if not known.under_way and not known.waiting:
            del self._domains[domain]
