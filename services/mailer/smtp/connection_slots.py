"""Limits the connections of a process to one relay to as many as the relay allows, and serves senders in turn.

How many that is has to be learned: relays greet one more with 421, or do not accept it (Postfix allows 50,
https://www.postfix.org/postconf.5.html#smtpd_client_connection_count_limit). After a refusal the limit is the
number of the connections that work. It grows by one at a time, each after a while that doubles with each refusal.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

OPENINGS_AT_ONCE = 3
"""Connections opened at once, after one could be opened; before that, one. So a password that has been changed is
tried no more than this often at once: accounts are commonly locked after 5."""
GROW_AFTER_S, GROW_AFTER_AT_MOST_S = 5.0, 300.0
"""How long until one more connection is tried. From 1 to 30 takes two and a half minutes, and a relay that goes on
to refuse has to do so once in five minutes."""


class ConnectionSlots:
    """Counts the connections to one relay and the senders that have, open or wait for one.

    `most`: connections at most. `is_served`: whether the sender that is next need not wait. When that may have
    changed for another reason than a call of this object, `check` must be called.
    """

    def __init__(self, most: int, is_served: Callable[[], bool]) -> None:
        self._most = most
        self._is_served = is_served
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.leased = 0
        """Senders that have a connection or open one."""
        self.established = 0
        """Connections that are open, in use or not, and not being closed."""
        self._closing = 0
        self._window = most
        self._seen = 0
        """As many have been open at once since the last refusal."""
        self._openings_at_once = 1
        self._grow_after_s = GROW_AFTER_S
        self._grow_at = math.inf

    @property
    def has_idle(self) -> bool:
        """Whether a connection is idle and not promised to a sender."""
        return self.leased < self.established

    @property
    def may_open(self) -> bool:
        """Whether one more connection may be opened now."""
        if time.monotonic() >= self._grow_at:
            self._window = min(self._most, self._window + 1)
            self._grow_at = math.inf
        is_within = max(self.leased, self.established) + self._closing < self._window
        return is_within and self.leased - self.established < self._openings_at_once

    async def enter(self) -> None:
        """Wait for one's turn. `leave` must follow."""
        if not self._waiting and self._is_served():
            self.leased += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn came at the same moment
                self.leave()
            raise

    def leave(self) -> None:
        """The sender has given its connection back, or has none."""
        self.leased -= 1
        self.check()

    def check(self) -> None:
        """Let those go on who need not wait any more, in order of arrival."""
        while self._waiting and (self._waiting[0].cancelled() or self._is_served()):
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self.leased += 1
                turn.set_result(None)

    def opened(self) -> None:
        """A connection has been opened."""
        self.established += 1
        self._openings_at_once = OPENINGS_AT_ONCE
        self._window = max(self._window, self.established)
        if self.established > self._seen:
            self._seen = self.established
            self._grow_after_s = GROW_AFTER_S
        if self._window < self._most:
            self._grow_at = min(self._grow_at, time.monotonic() + self._grow_after_s)
        self.check()

    def refused(self) -> None:
        """A connection could not be opened, although others are open: no more than those are allowed."""
        self._openings_at_once = 1
        self._window = self._seen = max(1, self.established)
        self._grow_at = time.monotonic() + self._grow_after_s
        self._grow_after_s = min(GROW_AFTER_AT_MOST_S, 2 * self._grow_after_s)

    def unreachable(self) -> None:
        """No connection is open, and none could be opened."""
        self._openings_at_once = 1

    def begin_close(self) -> None:
        """A connection is going to be closed. The relay still counts it."""
        self.established -= 1
        self._closing += 1

    def end_close(self) -> None:
        """It has been closed."""
        self._closing -= 1
        self.check()
