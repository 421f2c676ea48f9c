"""Who decides while Redis and the other gateways come and go.

SHARED     Redis decides for all gateways together.
ALONE      Redis is away or too slow: this gateway decides by its share of what was left (memory.py).
RETURNING  Redis replies again and knows every admission of this gateway, but other gateways may still be ALONE.
           Admissions must fit both the share and Redis. When all gateways have returned, the mode is SHARED.

A Redis that was wiped, restarted or replaced is treated like one that was away, so counts do not start from zero.
A gateway that is ALONE reports its admissions to the others. Those that still reach Redis then keep to a share as
well, until that gateway is back.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from itertools import islice
from uuid import uuid4

import orjson

from libs.common import background, log, metrics
from libs.common.backoff import delays
from libs.common.bus import Bus
from services.gateway.limits.decisions import HeldSlot
from services.gateway.limits.memory import Memory, Report
from services.gateway.limits.shared import CheckIn, Lost, Shared, Wiped

CHECK_IN_EVERY_S = 1.0
TELL_EVERY_S = 2.0
GONE_AFTER_S = 5.0
"""A gateway that has not checked in for this long is taken to have stopped."""
UNHEARD_AFTER_S = 3.0
"""In an outage, a gateway that has not reported by then is taken to have stopped, unless NATS was away too."""
TOLD_WITHIN_S = 0.25
"""How long the first requests of an outage wait for the other gateways' reports. The reports arrive within
milliseconds, except from a gateway that is busy or has just died."""
SUBJECTS_A_MESSAGE, ADMISSIONS_A_MESSAGE = 500, 10_000
"""A NATS message may have a megabyte."""
SUBJECT = "limits.admitted"
"""The NATS subject of the gateways' reports."""
UNKNOWN_PEER = "?"
"""Stands for any other gateways, if this one starts during an outage."""

logger = log.get("limits")


class Mode(StrEnum):
    """Who decides; see the module."""

    SHARED = "shared"
    ALONE = "alone"
    RETURNING = "returning"


class Outages:
    """Stays in contact with Redis and the other gateways, and chooses the mode."""

    def __init__(self, gateway: str, shared: Shared, memory: Memory, bus: Bus) -> None:
        self._gateway = gateway
        self._shared = shared
        self._memory = memory
        self._bus = bus
        self.mode = Mode.ALONE
        self.peers: set[str] = set()
        self._unreleased: list[HeldSlot] = []
        self._returned_us = 0
        self.redis_lock = asyncio.Lock()
        """Held while Redis decides, so that a report includes what it grants."""
        self._alone_since = float("-inf")
        self._check_now = asyncio.Event()
        self._all_reported = asyncio.Event()
        self._parts: dict[str, set[int]] = {}
        self._silence_timer: asyncio.Task[None] | None = None
        self._tasks = background.Tasks()

    @property
    def gateways(self) -> int:
        """The number of gateways that share what is left, including this one."""
        return len(self.peers - {UNKNOWN_PEER}) + 1

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watch Redis and the other gateways while the block runs."""
        await self.check_in()
        if self.mode is Mode.ALONE:
            self._begin_alone({UNKNOWN_PEER})
        try:
            async with background.alongside(
                background.essential(self._listen()),  # without the others' reports, limits are not exact
                background.essential(self._watch()),  # nobody else notices that Redis is back
            ):
                yield
        finally:  # leave no connection with half a reply read
            await self._tasks.end()

    async def lose(self, error: Lost | Wiped) -> None:
        """Decide by share from now on, because Redis went away or lost counts. Waits for the others' reports."""
        self._lose(error)
        self._check_now.set()
        await self.wait_for_reports()

    async def wait_for_reports(self) -> None:
        """At the start of an outage, wait for the other gateways' reports, at most TOLD_WITHIN_S in all."""
        left_s = self._alone_since + TOLD_WITHIN_S - asyncio.get_running_loop().time()
        if left_s > 0 and not self._all_reported.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._all_reported.wait()

    async def give_back(self, slots: list[HeldSlot]) -> None:
        """Release slots in Redis now, or as soon as it replies."""
        self._unreleased += slots
        if self.mode is not Mode.ALONE:
            with suppress(Lost):
                await self._release_pending()

    # -- Redis

    async def _watch(self) -> None:
        waits = delays(base_s=0.05, cap_s=CHECK_IN_EVERY_S)
        published_at = asyncio.get_running_loop().time()
        while True:
            self._check_now.clear()
            await self.check_in()
            now = asyncio.get_running_loop().time()
            if self.mode is Mode.SHARED:
                waits = delays(base_s=0.05, cap_s=CHECK_IN_EVERY_S)
            elif self.mode is Mode.ALONE and now - published_at > TELL_EVERY_S:
                published_at = now
                self._publish_soon(answering=False)
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_IN_EVERY_S if self.mode is Mode.SHARED else next(waits)):
                    await self._check_now.wait()

    async def check_in(self) -> None:
        """Contact Redis, see which gateways are there, and change the mode accordingly."""
        with background.surviving("Outages._watch"):
            try:
                seen = await self._contact_redis()
            except (Lost, Wiped) as error:
                self._lose(error)
                if isinstance(error, Lost):
                    await self._shared.health.note_error(error)
            else:
                await self._shared.health.note_answer()
                self._follow(seen)

    async def _contact_redis(self) -> CheckIn:
        """Check in, and tell Redis what it does not know. Raises Lost, Wiped."""
        seen = await self.send_check_in()
        if self.mode is not Mode.ALONE and seen.epoch != self._shared.epoch:
            raise Wiped
        if self.mode is Mode.ALONE:
            await self._return(seen)
            seen = await self.send_check_in()
        await self._restore_redis(wiped=False)
        await self._release_pending()
        return seen

    def _follow(self, seen: CheckIn) -> None:
        """Change the mode according to which gateways are there."""
        others = {gateway for gateway in seen.seen if gateway != self._gateway}
        if self.mode is Mode.SHARED:
            self.peers = others
        elif self.mode is Mode.RETURNING:
            self._share_if_all_returned(seen, others)

    async def send_check_in(self) -> CheckIn:
        """Check in with Redis, and read who else has. Raises Lost."""
        deciding = self.mode is not Mode.ALONE
        return await self._shared.check_in(uuid4().hex, gone_after_s=GONE_AFTER_S, deciding=deciding)

    def _lose(self, error: Lost | Wiped) -> None:
        if not self._memory.alone:
            self._begin_alone(self.peers)
        if self.mode is not Mode.ALONE:
            self.mode = Mode.ALONE
            self._note_mode(error=str(error))

    def _begin_alone(self, peers: set[str]) -> None:
        self.peers = set(peers)
        self._alone_since = asyncio.get_running_loop().time()
        self._memory.begin_alone(peers)
        self._parts.clear()
        self._all_reported.clear()
        if not peers:
            self._all_reported.set()
        self._publish_soon(answering=False)
        if self._silence_timer is not None:
            self._silence_timer.cancel()
        self._silence_timer = self._tasks.start(self._time_out_silent_peers())

    async def _time_out_silent_peers(self) -> None:
        """Drop peers that have not reported after UNHEARD_AFTER_S, unless NATS was disconnected in that time."""
        while self._memory.unheard:
            epoch = self._bus.epoch if self._bus.connected else None
            await asyncio.sleep(UNHEARD_AFTER_S)
            if epoch is not None and self._bus.connected and self._bus.epoch == epoch:
                self.peers -= self._memory.unheard
                self._memory.unheard.clear()
            else:
                self._publish_soon(answering=False)
        self._all_reported.set()

    async def _return(self, seen: CheckIn) -> None:
        """Redis replies again: give it this gateway's admissions, then let it decide too."""
        await self._restore_redis(wiped=seen.epoch != self._shared.epoch)
        self._shared.epoch = seen.epoch
        self._returned_us = seen.now_us
        self.mode = Mode.RETURNING
        self._note_mode()

    async def _restore_redis(self, *, wiped: bool) -> None:
        """Give Redis the admissions it did not decide or, if it was `wiped`, all.

        This runs once, even if more is admitted meanwhile: the next check-in sends that, before shares end.
        """
        if not (wiped or self._memory.has_unreported):
            return
        try:
            unreported = list(self._memory.unreported(self._shared.clock.earliest_us(), wiped=wiped))
            await self._shared.restore(unreported, knows_some=wiped)
        except Lost:
            self._memory.has_unreported = True
            raise

    async def _release_pending(self) -> None:
        if not self._unreleased:
            return
        owed, self._unreleased = self._unreleased, []
        try:
            await self._shared.give_back(owed)
        except BaseException:
            self._unreleased += owed
            raise

    def _share_if_all_returned(self, seen: CheckIn, others: set[str]) -> None:
        """Let Redis decide alone once every other gateway has returned to it, or has stopped."""
        if self._memory.has_unreported:
            return
        waited_s = (seen.now_us - self._returned_us) / 1e6
        returned = {gateway for gateway in others if seen.seen[gateway] >= self._returned_us}
        if self.peers - {UNKNOWN_PEER} <= returned or waited_s > GONE_AFTER_S:
            self.mode = Mode.SHARED
            self._memory.end_alone()
            self.peers = others
            if self._silence_timer is not None:
                self._silence_timer.cancel()
            self._all_reported.set()
            self._note_mode()

    def _note_mode(self, **why: str) -> None:
        for mode in Mode:
            metrics.limiter_mode.labels(mode.value).set(mode is self.mode)
        logger.info("limits.mode", mode=self.mode.value, others=len(self.peers), **why)

    # -- the other gateways

    async def _listen(self) -> None:
        async with self._bus.listening(SUBJECT, self._receive):
            await asyncio.Event().wait()

    def _receive(self, message: bytes) -> None:
        part = orjson.loads(message)
        gateway = part["gateway"]
        if gateway == self._gateway:
            return
        if self.mode is Mode.SHARED and not part["answering"]:
            self._fall_back_to_share(gateway)
        if self.mode is not Mode.SHARED:
            parts = self._parts.setdefault(gateway, set())
            parts.add(part["part"])
            complete = len(parts) == part["parts"]
            self._memory.receive(gateway, part["admitted"], complete=complete)
            self.peers.add(gateway)
            if complete:
                del self._parts[gateway]
            if not self._memory.unheard:
                self._all_reported.set()
        if not part["answering"] and part["part"] == 1:
            self._publish_soon(answering=True)

    def _fall_back_to_share(self, gateway: str) -> None:
        """Another gateway has lost Redis, which still replies here: until it is back, use both share and Redis."""
        self._begin_alone(self.peers | {gateway})
        self._returned_us = self._shared.clock.latest_us()
        self.mode = Mode.RETURNING
        self._note_mode(because_of=gateway)

    def _publish_soon(self, *, answering: bool) -> None:
        self._tasks.start(self._publish(answering))

    async def _publish(self, answering: bool) -> None:
        async with self.redis_lock:
            messages = list(_parts_of(self._memory.report(self._shared.clock.earliest_us())))
        for number, admitted in enumerate(messages, 1):
            message = {"gateway": self._gateway, "admitted": admitted, "answering": answering}
            await self._bus.publish(SUBJECT, orjson.dumps(message | {"part": number, "parts": len(messages)}))


def _parts_of(report: Report) -> Iterator[Report]:
    """Split a report into parts that fit a message; at least one part, even if it is empty."""
    subjects = iter(report.items())
    part: Report = dict(islice(subjects, 1))
    size = sum(map(len, part.values()))
    for key, admissions in subjects:
        if len(part) >= SUBJECTS_A_MESSAGE or size + len(admissions) > ADMISSIONS_A_MESSAGE:
            yield part
            part, size = {}, 0
        part[key] = admissions
        size += len(admissions)
    yield part
