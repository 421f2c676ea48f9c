"""Another machine's clock, as far as it can be known from here: between two bounds, which its answers narrow."""

import time


class RemoteClock:
    """The clock of a server that says what time it is. Until it has been heard, this machine's is taken for it."""

    def __init__(self) -> None:
        ahead_us = time.time_ns() // 1000 - monotonic_us()
        self._ahead_us = (ahead_us, ahead_us)
        self._heard = False

    def heard(self, said_us: int, *, asked_us: int) -> None:
        """It has just said `said_us`, in answer to what was sent at `asked_us` of `monotonic_us`.

        So it was read between then and now, however late the answer was noticed. Where the bounds of all answers
        contradict each other, one of the clocks was set, or they drift: the last answer counts.
        """
        least, most = said_us - monotonic_us(), said_us - asked_us
        if self._heard:
            both = max(least, self._ahead_us[0]), min(most, self._ahead_us[1])
            least, most = both if both[0] <= both[1] else (least, most)
        self._ahead_us = (least, most)
        self._heard = True

    def earliest_us(self) -> int:
        """Its time, in µs; or later than this. For what may count too long, but not too short."""
        return monotonic_us() + self._ahead_us[0]

    def latest_us(self) -> int:
        """Its time, in µs; or earlier than this."""
        return monotonic_us() + self._ahead_us[1]


def monotonic_us() -> int:
    """This machine's time that is never set, in µs."""
    return time.monotonic_ns() // 1000
