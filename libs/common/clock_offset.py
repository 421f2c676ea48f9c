"""Estimates the clock of another machine: a lower and an upper bound, which each of its replies narrows."""

import time


class RemoteClock:
    """The clock of a server that reports its time. Until its first reply, this machine's clock is used instead."""

    def __init__(self) -> None:
        ahead_us = time.time_ns() // 1000 - monotonic_us()
        self._ahead_us = (ahead_us, ahead_us)
        self._heard = False

    def heard(self, server_us: int, *, asked_us: int) -> None:
        """Note that the server's clock read `server_us`, in the reply to a request sent at `asked_us`.

        Both are in µs; `asked_us` is a value of `monotonic_us`. The clock was read between the request and now,
        however late this process noticed the reply. If these bounds contradict the earlier ones, one of the clocks
        was set or they drift: only the latest reply counts then.
        """
        least, most = server_us - monotonic_us(), server_us - asked_us
        if self._heard:
            both = max(least, self._ahead_us[0]), min(most, self._ahead_us[1])
            least, most = both if both[0] <= both[1] else (least, most)
        self._ahead_us = (least, most)
        self._heard = True

    def earliest_us(self) -> int:
        """The earliest that the server's clock can be now, in µs.

        Use it where something may count for too long, but not for too short a time.
        """
        return monotonic_us() + self._ahead_us[0]

    def latest_us(self) -> int:
        """The latest that the server's clock can be now, in µs."""
        return monotonic_us() + self._ahead_us[1]


def monotonic_us() -> int:
    """This machine's monotonic clock, in µs."""
    return time.monotonic_ns() // 1000
