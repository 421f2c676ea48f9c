"""The scaling signal: how many slots each queue could use, as a metric and as JSON on the probes' port.

Every gateway has the same numbers. An autoscaler asks any of them, or takes the maximum of their metrics.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from libs.common import background, metrics
from libs.common.db import Database
from libs.common.ledger.slots_wanted import slots_wanted
from libs.common.probes import Answer

COUNT_EVERY_S = 5.0
OUTDATED_AFTER_S = 30.0
"""From this age on the numbers are withheld: an autoscaler without an answer changes nothing."""


class _Count(NamedTuple):
    slots: Mapping[str, int]
    at: float


class ScalingSignal:
    """Counts the slots wanted by `queues`. `answer` may be called by another thread."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = queues
        self._last: _Count | None = None

    async def run(self, database: Database) -> None:
        """Count every COUNT_EVERY_S seconds, for ever."""
        while True:
            await self.go_round(database)
            await asyncio.sleep(COUNT_EVERY_S)

    async def go_round(self, database: Database) -> None:
        """Count once, or withhold what was counted too long ago."""
        with background.surviving("ScalingSignal.run"):
            await self._count(database)
        if self._outdated():
            metrics.slots_wanted.clear()

    async def _count(self, database: Database) -> None:
        slots = await slots_wanted(database, self._queues)
        self._last = _Count(slots, time.monotonic())
        for queue, number in slots.items():
            metrics.slots_wanted.labels(queue).set(number)

    def answer(self) -> Answer:
        """GET /slots-wanted: the slots by queue, and `age_s`, the seconds since then. 503: outdated."""
        last = self._last
        if last is None or self._outdated():
            return Answer(503, "application/json", orjson.dumps({"error": "not counted lately"}))
        age_s = round(time.monotonic() - last.at, 1)
        return Answer(200, "application/json", orjson.dumps({**last.slots, "age_s": age_s}))

    def _outdated(self) -> bool:
        return self._last is None or time.monotonic() - self._last.at > OUTDATED_AFTER_S
