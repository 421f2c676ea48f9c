"""What the workers of a queue offer, so that a job that none of them could do is refused at once.

What is offered is cached for a while. Before anything is refused it is read again, so a worker that has just come
is not overlooked.
"""

import time
from collections.abc import Collection

from libs.common.db import Database
from libs.common.ledger import queues

CACHED_FOR_S = 10.0
_NOTHING: frozenset[str] = frozenset()


class WorkerOffers:
    """What workers have told when they registered."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: dict[tuple[str, str], tuple[float, frozenset[str]]] = {}

    async def without(self, queue: str, option: str, wanted: Collection[str]) -> frozenset[str] | None:
        """All that workers of `queue` offer for `option`, if some of `wanted` is not among it; otherwise None.

        Without a worker, or with one that does not say what it offers, everything may be wanted.
        Raises Unavailable.
        """
        if not wanted:
            return None
        read_at, known = self._known.get((queue, option), (float("-inf"), _NOTHING))
        if time.monotonic() - read_at <= CACHED_FOR_S and known.issuperset(wanted):
            return None
        offered = await self._read(queue, option)
        return None if offered is None or offered.issuperset(wanted) else offered

    async def _read(self, queue: str, option: str) -> frozenset[str] | None:
        """What all workers offer together; None if there is none, or one that does not say."""
        read_at = time.monotonic()
        told = await queues.offers(self._db, queue)
        if not told or not all(one is not None and option in one for one in told):
            return None
        offered = frozenset(value for one in told if one for value in one[option])
        self._known[queue, option] = read_at, offered
        return offered
