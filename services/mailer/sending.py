"""Sends the messages of one job: over as many connections as are free, domains in turn, within the limits.

A domain that is slow, or must wait, holds up no other: whoever is free takes a message to the domain that has the
fewest under way, and one that does not answer gets few (domain_slots.py).
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from uuid import UUID

from libs.common.backoff import Backoff
from services.mailer.letters import State, StateChange, StateWriter
from services.mailer.refusals import NoLongerOurs
from services.mailer.smtp.connection import ConnectionLease, Relays, Unreachable
from services.mailer.smtp.dialogue import Envelope, Phase, Reply
from services.mailer.smtp.domain_slots import DomainSlots
from services.mailer.smtp.pacing import Pacer

DEFER_AT_MOST_S = 3600.0
READY_BYTES_AT_MOST = 32 * 1024 * 1024
"""Of a job's messages that are put together and may not go yet."""
LET_GO_S = 1.0
"""What is on its way gets so long when the job is stopped."""
TURN_S, TURN_OVER_S = 30.0, 1.0
"""A job that is not through by then lets others have its slot for a moment: it may be waiting for a limit."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A message to `recipient`, but for files and signatures.

    `tries`: how often it was put off; `age_s`: how old the letter is; `again`: whether it is sent again in doubt.
    """

    number: int
    sender: str
    recipient: str
    domain: str
    content: bytes
    tries: int
    age_s: float
    again: bool


@dataclass(slots=True)
class Outbox:
    """The messages of a job that are still to be sent, by domain."""

    waiting: dict[str, deque[Mail]] = field(default_factory=dict)
    ready_at: dict[str, float] = field(default_factory=dict)
    """On the monotonic clock, for domains that must wait."""
    count: int = 0
    size: int = 0
    """Bytes."""

    def put(self, mail: Mail, *, after_s: float = 0.0) -> None:
        """Take a message in; its whole domain waits `after_s` seconds."""
        mails = self.waiting.setdefault(mail.domain, deque())
        self.count += 1
        self.size += len(mail.content)
        if after_s:
            mails.appendleft(mail)
            self.ready_at[mail.domain] = time.monotonic() + after_s
        else:
            mails.append(mail)

    def take(self, domain_slots: DomainSlots, news: asyncio.Event) -> Mail | None:
        """The next message that may go; if none may, `news` is set when there is room for one."""
        now = time.monotonic()
        ready = [domain for domain in self.waiting if self.ready_at.get(domain, 0.0) <= now]
        open_ = [domain for domain in ready if domain_slots.has_room(domain)]
        if not open_:
            for domain in ready:
                domain_slots.when_room(domain, news)
            return None
        domain = min(open_, key=domain_slots.load)
        mails = self.waiting[domain]
        mail = mails.popleft()
        self.count -= 1
        self.size -= len(mail.content)
        if not mails:
            del self.waiting[domain]
        return mail

    def wait_s(self) -> float:
        """Until a domain that must wait is ready; infinite if none must."""
        now = time.monotonic()
        later = [at for domain in self.waiting if (at := self.ready_at.get(domain, 0.0)) > now]
        return min(later, default=math.inf) - now


@dataclass(frozen=True, slots=True)
class Transport:
    """What all jobs of a process share to send with."""

    relays: Relays
    states: StateWriter
    pacer: Pacer
    retry: Backoff
    give_up_after_s: float
    connections: int
    """To one relay."""
    domain_slots: DomainSlots


class Delivery:
    """A job's messages on their way, for one turn.

    `supply`: the messages, some at a time; `at_most`: how many there are; `finish`: what each still needs.
    """

    def __init__(
        self,
        transport: Transport,
        letter: UUID,
        attempt: int,
        tenant: str,
        supply: AsyncGenerator[list[Mail], None],
        at_most: int,
        finish: Callable[[bytes], bytes] | None,
    ) -> None:
        self._transport = transport
        self._letter = letter
        self._attempt = attempt
        self._tenant = tenant
        self._supply = supply
        self._at_most = at_most
        self._finish = finish
        self._outbox = Outbox()
        self._is_all = False
        self._news, self._wanted = asyncio.Event(), asyncio.Event()
        """For the senders: there may be something to send. For the supply: they have too little."""
        self._writing: list[asyncio.Future[bool]] = []
        self._until = math.inf
        """The end of its turn, which begins with the first messages."""
        self._failure: Exception | None = None
        self._stopping = False
        self._away_s = 0.0
        self._ended = 0

    async def run(self, report: Callable[[int], None]) -> float:
        """Send what can be sent now; seconds until it is worth going on, if something has stopped it, or 0.0.

        `report` is told of how many it is known what became of them. Cancelled, it sees to the end what is on its
        way. Raises NoLongerOurs; and what `supply` raises, when all that it gave before has been seen to.
        """
        self._report = report
        senders = [self._send() for _ in range(min(self._at_most, self._transport.connections))]
        tasks = [asyncio.create_task(part) for part in (self._fill(), *senders)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._stop()
            await asyncio.wait(tasks, timeout=LET_GO_S)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in sorted((end for end in ends if end is not None), key=_is_cancelled):
            raise end
        if not all(await asyncio.gather(*self._writing)):
            raise NoLongerOurs
        if self._failure is not None:
            raise self._failure
        return max(self._away_s, 0.0 if self._is_all and not self._outbox.count else TURN_OVER_S)

    def _stop(self) -> None:
        self._stopping = True
        self._news.set()
        self._wanted.set()

    @property
    def _is_over(self) -> bool:
        return self._stopping or time.monotonic() >= self._until

    async def _within(self, news: asyncio.Event, wait_s: float) -> None:
        """Wait for news, for so long or the end of the turn."""
        wait_s = min(wait_s, self._until - time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                await news.wait()

    async def _fill(self) -> None:
        try:
            await self._keep_ready()
        except Exception as error:  # what is ready, and what is on its way, is seen to first
            self._failure = error
            self._is_all = True
            self._news.set()

    async def _keep_ready(self) -> None:
        """Have some messages ready, and more where none of those may go."""
        async with aclosing(self._supply) as supply:
            async for mails in supply:
                self._until = min(self._until, time.monotonic() + TURN_S)
                for mail in mails:
                    self._outbox.put(mail)
                self._news.set()
                self._wanted.clear()
                while not self._is_over and self._outbox.count >= len(mails):
                    await self._within(self._wanted, math.inf)
                    if self._wanted.is_set() and self._outbox.size < READY_BYTES_AT_MOST:
                        break
                    self._wanted.clear()
                if self._is_over:
                    return
        self._is_all = True
        self._news.set()

    async def _send(self) -> None:
        connection_lease, reports = ConnectionLease(self._transport.relays), list[StateChange]()
        try:
            await self._send_all(connection_lease, reports)
        finally:
            self._write(reports)
            await connection_lease.release()

    async def _send_all(self, connection_lease: ConnectionLease, reports: list[StateChange]) -> None:
        """Send one message after the other. `reports`: what became of them, and is not written yet."""
        domain_slots = self._transport.domain_slots
        while not self._is_over:
            self._news.clear()
            mail = self._outbox.take(domain_slots, self._news)
            if mail is None:
                if self._is_all and not self._outbox.count:
                    return
                if connection_lease.is_held:
                    self._write(reports)
                    await connection_lease.release()
                    continue  # there may have been news
                self._wanted.set()
                await self._within(self._news, self._outbox.wait_s())
                continue
            if self._outbox.count < 2 * self._transport.connections:
                self._wanted.set()
            domain_slots.enter(mail.domain)
            answered_s: float | None = None
            try:
                answered_s = await self._send_one(mail, connection_lease, reports)
            finally:
                others_wait = domain_slots.leave(mail.domain, answered_s, self._news)
            if others_wait:
                await asyncio.sleep(0)  # it is their turn

    async def _send_one(
        self, mail: Mail, connection_lease: ConnectionLease, reports: list[StateChange]
    ) -> float | None:
        """Seconds until it was answered, infinite if it was not; None: nobody was asked, and it stays here."""
        transport = self._transport
        try:
            connection = await connection_lease.connection()
        except Unreachable as away:  # no fault of the recipient's
            self._away_s = max(self._away_s, away.after_s)
            self._outbox.put(mail)
            self._stop()
            return None
        permit = transport.pacer.permit(connection.relay, self._tenant, mail.domain)
        wait_s = await transport.pacer.take(permit)
        if wait_s:
            self._outbox.put(mail, after_s=wait_s)
            return None
        try:
            finish, content = self._finish, mail.content
            if finish is not None:
                content = await asyncio.to_thread(finish, content)
            envelope = Envelope(mail.sender, mail.recipient, content)
            begun = time.monotonic()
            reply = await connection.send(envelope, lambda: self._announce(mail, reports))
        finally:
            transport.pacer.done(permit)
        reports.append(self._report_on(mail, reply))
        return math.inf if reply.code is None else time.monotonic() - begun

    async def _announce(self, mail: Mail, reports: list[StateChange]) -> None:
        """The data is about to end: from here on the message may have arrived. Raises NoLongerOurs.

        What became of the message before travels in the same statement: one is in doubt at most, if this dies.
        """
        self._write(reports)
        if not await self._transport.states.write(
            StateChange(self._letter, mail.number, self._attempt, State.SENDING)
        ):
            raise NoLongerOurs

    def _write(self, reports: list[StateChange]) -> None:
        """Not waited for before the end."""
        self._writing += [self._transport.states.write(report) for report in reports]
        reports.clear()

    def _report_on(self, mail: Mail, reply: Reply) -> StateChange:
        state, retry_in_s = self._verdict(mail, reply)
        self._ended += state is not State.DEFERRED
        self._report(self._ended)
        text = reply.text.replace("\x00", "")[:500]
        possible_duplicates = int(reply.in_doubt and mail.again)
        at_recipient = reply.phase is Phase.RCPT
        return StateChange(
            self._letter,
            mail.number,
            self._attempt,
            state,
            reply.code,
            reply.enhanced,
            text,
            retry_in_s,
            possible_duplicates,
            at_recipient,
        )

    def _verdict(self, mail: Mail, reply: Reply) -> tuple[State, float]:
        if reply.accepted:
            return State.SENT, 0.0
        if reply.in_doubt and not mail.again:
            return State.UNKNOWN, 0.0
        if reply.refused or mail.age_s > self._transport.give_up_after_s:
            return State.BOUNCED, 0.0
        return State.DEFERRED, self._transport.retry.delay_s(mail.tries + 1)


def _is_cancelled(error: BaseException) -> bool:
    return isinstance(error, asyncio.CancelledError)
