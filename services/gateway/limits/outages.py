"""Who decides, as Redis and the other gateways come and go.

SHARED     Redis decides, for all gateways together.
ALONE      Redis is away or too slow: this gateway decides by its share of what was left (memory.py).
RETURNING  Redis answers again and has been told everything, but other gateways may still be ALONE: what is
           admitted must fit both the share and Redis. When all have returned, SHARED.

A Redis that was wiped, started anew or replaced is the same as one that was away: nobody starts afresh. A gateway
that is ALONE tells the others what it has admitted; whoever could still ask Redis then keeps to a share as well,
until it is back.
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
from services.gateway.limits.memory import Memory, Told
from services.gateway.limits.shared import CheckIn, Lost, Shared, Wiped

CHECK_IN_EVERY_S = 1.0
TELL_EVERY_S = 2.0
GONE_AFTER_S = 5.0
"""A gateway that has not checked in for this long has stopped."""
UNHEARD_AFTER_S = 3.0
"""In an outage, a gateway that has told nothing by then has stopped; where NATS is away too, nobody has."""
TOLD_WITHIN_S = 0.25
"""The first requests of an outage wait so long for what the others tell. All have told it within milliseconds, but
for one that is busy, or has just died."""
SUBJECTS_A_MESSAGE, ADMISSIONS_A_MESSAGE = 500, 10_000
"""NATS takes a megabyte."""
SUBJECT = "limits.admitted"
"""On the bus: what a gateway has admitted."""
STRANGER = "?"
"""Stands for whoever else there may be, where a gateway starts in the midst of an outage."""

logger = log.get("limits")


class Mode(StrEnum):
    """Who decides."""

    SHARED = "shared"
    ALONE = "alone"
    RETURNING = "returning"


class Outages:
    """Keeps in touch with Redis and the other gateways."""

    def __init__(self, gateway: str, shared: Shared, memory: Memory, bus: Bus) -> None:
        self._gateway = gateway
        self._shared = shared
        self._memory = memory
        self._bus = bus
        self.mode = Mode.ALONE
        self.peers: set[str] = set()
        self._owed: list[HeldSlot] = []
        self._returned_us = 0
        self.asking = asyncio.Lock()
        """Held while Redis is asked: what it grants then is told to the others, too."""
        self._alone_since = float("-inf")
        self._look = asyncio.Event()
        self._all_told = asyncio.Event()
        self._parts: dict[str, set[int]] = {}
        self._waiting: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def gateways(self) -> int:
        """How many share what is left, this one included."""
        return len(self.peers - {STRANGER}) + 1

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Keep in touch while the block runs."""
        await self.check_in()
        if self.mode is Mode.ALONE:
            self._begin_alone({STRANGER})
        try:
            async with background.alongside(self._listen(), self._watch()):
                yield
        finally:  # no connection is left in the midst of an answer
            await background.end({*self._telling, *([self._waiting] if self._waiting else [])})

    async def lose(self, error: Lost | Wiped) -> None:
        """Redis went away, or forgot: from here on by share, as soon as the others have told what they know."""
        self._lose(error)
        self._look.set()
        await self.told()

    async def told(self) -> None:
        """As an outage begins, wait for what the others know."""
        left_s = self._alone_since + TOLD_WITHIN_S - asyncio.get_running_loop().time()
        if left_s > 0 and not self._all_told.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._all_told.wait()

    async def give_back(self, places: list[HeldSlot]) -> None:
        """Free places in Redis: now, or as soon as it answers."""
        self._owed += places
        if self.mode is not Mode.ALONE:
            with suppress(Lost):
                await self._pay_back()

    # -- Redis

    async def _watch(self) -> None:
        waits = delays(base_s=0.05, cap_s=CHECK_IN_EVERY_S)
        told_at = asyncio.get_running_loop().time()
        while True:
            self._look.clear()
            await self.check_in()
            now = asyncio.get_running_loop().time()
            if self.mode is Mode.SHARED:
                waits = delays(base_s=0.05, cap_s=CHECK_IN_EVERY_S)
            elif self.mode is Mode.ALONE and now - told_at > TELL_EVERY_S:
                told_at = now
                self._tell(answering=False)
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_IN_EVERY_S if self.mode is Mode.SHARED else next(waits)):
                    await self._look.wait()

    async def check_in(self) -> None:
        """Look for Redis and the others; move on to where that allows."""
        try:
            seen = await self.ask_who_is_there()
            if self.mode is not Mode.ALONE and seen.epoch != self._shared.epoch:
                raise Wiped
            if self.mode is Mode.ALONE:
                await self._come_back(seen)
                seen = await self.ask_who_is_there()
            await self._tell_redis(wiped=False)
            await self._pay_back()
        except (Lost, Wiped) as error:
            self._lose(error)
            return
        except Exception:  # whatever it is, this must go on
            logger.exception("limits.bug")
            return
        others = {gateway for gateway in seen.seen if gateway != self._gateway}
        if self.mode is Mode.SHARED:
            self.peers = others
        elif self.mode is Mode.RETURNING:
            self._join(seen, others)

    async def ask_who_is_there(self) -> CheckIn:
        """Check in, and hear who else does. Raises Lost."""
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
        self._all_told.clear()
        if not peers:
            self._all_told.set()
        self._tell(answering=False)
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = asyncio.create_task(self._wait_for_the_unheard())

    async def _wait_for_the_unheard(self) -> None:
        """Whoever has told nothing after some seconds is gone; but not while nobody could have told anything."""
        while self._memory.unheard:
            epoch = self._bus.epoch if self._bus.connected else None
            await asyncio.sleep(UNHEARD_AFTER_S)
            if epoch is not None and self._bus.connected and self._bus.epoch == epoch:
                self.peers -= self._memory.unheard
                self._memory.unheard.clear()
            else:
                self._tell(answering=False)
        self._all_told.set()

    async def _come_back(self, seen: CheckIn) -> None:
        """Redis answers: tell it everything, then let it decide too."""
        await self._tell_redis(wiped=seen.epoch != self._shared.epoch)
        self._shared.epoch = seen.epoch
        self._returned_us = seen.now_us
        self.mode = Mode.RETURNING
        self._note_mode()

    async def _tell_redis(self, *, wiped: bool) -> None:
        """Let Redis know what it did not decide; if it was `wiped`, everything.

        Once, however much is admitted meanwhile: the next check-in tells of that, before shares are given up.
        """
        if not (wiped or self._memory.has_untold):
            return
        try:
            untold = list(self._memory.untold(self._shared.clock.earliest_us(), wiped=wiped))
            await self._shared.restore(untold, knows_some=wiped)
        except Lost:
            self._memory.has_untold = True
            raise

    async def _pay_back(self) -> None:
        if not self._owed:
            return
        owed, self._owed = self._owed, []
        try:
            await self._shared.give_back(owed)
        except BaseException:
            self._owed += owed
            raise

    def _join(self, seen: CheckIn, others: set[str]) -> None:
        """Let Redis decide alone once every other gateway lets it decide too, or has stopped."""
        if self._memory.has_untold:
            return
        waited_s = (seen.now_us - self._returned_us) / 1e6
        returned = {gateway for gateway in others if seen.seen[gateway] >= self._returned_us}
        if self.peers - {STRANGER} <= returned or waited_s > GONE_AFTER_S:
            self.mode = Mode.SHARED
            self._memory.end_alone()
            self.peers = others
            if self._waiting is not None:
                self._waiting.cancel()
            self._all_told.set()
            self._note_mode()

    def _note_mode(self, **why: str) -> None:
        for mode in Mode:
            metrics.limiter_mode.labels(mode.value).set(mode is self.mode)
        logger.info("limits.mode", mode=self.mode.value, others=len(self.peers), **why)

    # -- the other gateways

    async def _listen(self) -> None:
        async with self._bus.listening(SUBJECT, self._hear):
            await asyncio.Event().wait()

    def _hear(self, message: bytes) -> None:
        told = orjson.loads(message)
        gateway = told["gateway"]
        if gateway == self._gateway:
            return
        if self.mode is Mode.SHARED and not told["answering"]:
            self._keep_to_a_share(gateway)
        if self.mode is not Mode.SHARED:
            parts = self._parts.setdefault(gateway, set())
            parts.add(told["part"])
            complete = len(parts) == told["parts"]
            self._memory.hear(gateway, told["admitted"], complete=complete)
            self.peers.add(gateway)
            if complete:
                del self._parts[gateway]
            if not self._memory.unheard:
                self._all_told.set()
        if not told["answering"] and told["part"] == 1:
            self._tell(answering=True)

    def _keep_to_a_share(self, gateway: str) -> None:
        """Another gateway has lost Redis, which still answers here: until it is back, both must fit."""
        self._begin_alone(self.peers | {gateway})
        self._returned_us = self._shared.clock.latest_us()
        self.mode = Mode.RETURNING
        self._note_mode(because_of=gateway)

    def _tell(self, *, answering: bool) -> None:
        telling = asyncio.get_running_loop().create_task(self._publish(answering))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _publish(self, answering: bool) -> None:
        async with self.asking:
            messages = list(_parts_of(self._memory.tell(self._shared.clock.earliest_us())))
        for number, admitted in enumerate(messages, 1):
            message = {"gateway": self._gateway, "admitted": admitted, "answering": answering}
            await self._bus.publish(SUBJECT, orjson.dumps(message | {"part": number, "parts": len(messages)}))


def _parts_of(told: Told) -> Iterator[Told]:
    """Messages of bearable size; one at least, even if there is nothing to tell."""
    subjects = iter(told.items())
    part: Told = dict(islice(subjects, 1))
    size = sum(map(len, part.values()))
    for key, admissions in subjects:
        if len(part) >= SUBJECTS_A_MESSAGE or size + len(admissions) > ADMISSIONS_A_MESSAGE:
            yield part
            part, size = {}, 0
        part[key] = admissions
        size += len(admissions)
    yield part
