"""Delivers the messages of one job over several connections at once, within the rate limits.

A domain that is slow or rate limited does not hold up the others: a free sender takes a message for the domain
with the fewest messages in flight. A domain that does not reply gets few connections (domain_slots.py).
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
from services.mailer.bounce_brake import BounceBrake
from services.mailer.letters import State, StateChange, StateWriter, stored_text
from services.mailer.refusals import NoLongerOurs
from services.mailer.smtp.connection import ConnectionLease, Relays, Unreachable
from services.mailer.smtp.dialogue import Envelope, Phase, Reply
from services.mailer.smtp.domain_slots import DomainSlots
from services.mailer.smtp.pacing import Pacer
from services.mailer.smtp.verdict import About, about

DEFER_AT_MOST_S = 3600.0
READY_BYTES_AT_MOST = 32 * 1024 * 1024
"""No more messages of a job are composed while its queued messages have more bytes than this."""
STOP_GRACE_S = 1.0
"""How long messages in flight may take to end when the job is stopped."""
TURN_S, TURN_PAUSE_S = 30.0, 1.0
"""A job that is not done after TURN_S is snoozed for TURN_PAUSE_S, so that other jobs can have its slot. It may
only be waiting for a rate limit."""
HELD_AT_LEAST_S, HELD_AT_MOST_S = 120.0, 3600.0
"""How long a letter waits whose sender was refused. It is half the letter's age, so the waits grow."""
LOOK_AGAIN_S = 300.0
"""A letter looks again after this long, even if its relay is held for longer: another mailer may get through."""
SENDER_REFUSALS_AT_MOST = 3
"""After as many refusals of the sender in a row, the other recipients of the letter are not tried."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A composed message to one recipient, without attachments and signatures.

    `tries`: how often it was deferred; `age_s`: the age of the letter in seconds; `again`: whether it is sent
    again if a relay may or may not have taken it.
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
class SendQueue:
    """The composed messages of a job that are still to be sent, by domain."""

    waiting: dict[str, deque[OutgoingMessage]] = field(default_factory=dict)
    ready_at: dict[str, float] = field(default_factory=dict)
    """When a rate-limited domain may be tried again, on the monotonic clock."""
    count: int = 0
    size: int = 0
    """Bytes of all messages."""

    def put(self, message: OutgoingMessage, *, after_s: float = 0.0) -> None:
        """Add a message. With `after_s`, its whole domain waits for that many seconds."""
        messages = self.waiting.setdefault(message.domain, deque())
        self.count += 1
        self.size += len(message.content)
        if after_s:
            messages.appendleft(message)
            self.ready_at[message.domain] = time.monotonic() + after_s
        else:
            messages.append(message)

    def take(self, domain_slots: DomainSlots, wakeup: asyncio.Event) -> OutgoingMessage | None:
        """Remove and return the next message that may be sent. If none may, `wakeup` is set later."""
        now = time.monotonic()
        ready = [domain for domain in self.waiting if self.ready_at.get(domain, 0.0) <= now]
        available = [domain for domain in ready if domain_slots.has_room(domain)]
        if not available:
            for domain in ready:
                domain_slots.when_room(domain, wakeup)
            return None
        domain = min(available, key=domain_slots.load)
        messages = self.waiting[domain]
        message = messages.popleft()
        self.count -= 1
        self.size -= len(message.content)
        if not messages:
            del self.waiting[domain]
        return message

    def wait_s(self) -> float:
        """Return the seconds until the next waiting domain is ready, or infinity if no domain waits."""
        now = time.monotonic()
        later = [at for domain in self.waiting if (at := self.ready_at.get(domain, 0.0)) > now]
        return min(later, default=math.inf) - now


@dataclass(frozen=True, slots=True)
class Transport:
    """What all deliveries of a process share."""

    relays: Relays
    states: StateWriter
    pacer: Pacer
    retry: Backoff
    give_up_after_s: float
    connections: int
    """At most, to one relay."""
    domain_slots: DomainSlots


class Delivery:
    """One turn of a job, in which its messages are sent.

    `supply`: yields the messages in batches; `at_most`: how many there are at most; `ended`: how many recipients
    have ended before; `finish`: adds attachments and signatures to a message, None if there are none.
    """

    def __init__(
        self,
        transport: Transport,
        letter_id: UUID,
        attempt: int,
        tenant: str,
        supply: AsyncGenerator[list[OutgoingMessage], None],
        at_most: int,
        ended: int,
        finish: Callable[[bytes], bytes] | None,
    ) -> None:
        self._transport = transport
        self._letter_id = letter_id
        self._attempt = attempt
        self._tenant = tenant
        self._supply = supply
        self._at_most = at_most
        self._finish = finish
        self._queue = SendQueue()
        self._all_queued = False
        self._wakeup, self._needs_more = asyncio.Event(), asyncio.Event()
        """The first wakes the senders: there may be something to send. The second asks for more messages."""
        self._writes: list[asyncio.Future[bool]] = []
        self._turn_ends_at = math.inf
        """When the turn ends, on the monotonic clock. It begins with the first batch."""
        self._failure: Exception | None = None
        self._stopping = False
        self._retry_in_s = 0.0
        self._brake = BounceBrake(ended)
        self._sender_refusals = 0
        """In a row."""
        self.refusal: Reply | None = None
        """What the relay last said against us or the sender, or why it could not be reached."""
        self.is_held = False
        """Whether all the recipients that are left must wait because of the refusal."""

    async def run(self, report: Callable[[int], None]) -> float:
        """Send what can be sent now. Returns 0.0, or the seconds to wait before the rest should be tried.

        `report` is called with the number of recipients that have ended, in earlier turns too. If this is
        cancelled, messages in flight get STOP_GRACE_S to end. Raises NoLongerOurs. An exception from `supply` is
        raised after all messages before it have been sent.
        """
        self._report = report
        senders = [self._send() for _ in range(min(self._at_most, self._transport.connections))]
        tasks = [asyncio.create_task(part) for part in (self._run_supply(), *senders)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._stop()
            await asyncio.wait(tasks, timeout=STOP_GRACE_S)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*self._writes, return_exceptions=True)  # before another attempt can begin
        for error in sorted((end for end in ends if end is not None), key=_is_cancelled):
            raise error
        if not all(await asyncio.gather(*self._writes)):
            raise NoLongerOurs
        if self._failure is not None:
            raise self._failure
        return max(self._retry_in_s, 0.0 if self._all_queued and not self._queue.count else TURN_PAUSE_S)

    @property
    def note(self) -> str | None:
        """Why recipients are held, in a few words for whoever sent the letter."""
        refusal = self.refusal
        if refusal is None:
            return None
        if refusal.code is None:
            return "No mail relay can be reached."
        return f"The mail relay said at {refusal.phase}: {refusal.code} {stored_text(refusal)}"

    def _stop(self) -> None:
        self._stopping = True
        self._wakeup.set()
        self._needs_more.set()

    @property
    def _is_over(self) -> bool:
        return self._stopping or time.monotonic() >= self._turn_ends_at

    async def _wait_for(self, event: asyncio.Event, wait_s: float) -> None:
        """Wait for `event`, for at most `wait_s` seconds, and not beyond the end of the turn."""
        wait_s = min(wait_s, self._turn_ends_at - time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                await event.wait()

    async def _run_supply(self) -> None:
        try:
            await self._queue_batches()
        except Exception as error:  # raised only after the queued messages are sent
            self._failure = error
            self._all_queued = True
            self._wakeup.set()

    async def _queue_batches(self) -> None:
        """Queue the next batch when the senders run short, or when none of the queued messages may be sent."""
        async with aclosing(self._supply) as supply:
            async for messages in supply:
                self._turn_ends_at = min(self._turn_ends_at, time.monotonic() + TURN_S)
                for message in messages:
                    self._queue.put(message)
                self._wakeup.set()
                self._needs_more.clear()
                while not self._is_over and self._queue.count >= len(messages):
                    await self._wait_for(self._needs_more, math.inf)
                    if self._needs_more.is_set() and self._queue.size < READY_BYTES_AT_MOST:
                        break
                    self._needs_more.clear()
                if self._is_over:
                    return
        self._all_queued = True
        self._wakeup.set()

    async def _send(self) -> None:
        connection_lease, changes = ConnectionLease(self._transport.relays), list[StateChange]()
        try:
            await self._send_all(connection_lease, changes)
        finally:
            self._write(changes)
            await connection_lease.release()

    async def _send_all(self, connection_lease: ConnectionLease, changes: list[StateChange]) -> None:
        """Send one message after the other. `changes` collects the state changes that are not yet written."""
        domain_slots = self._transport.domain_slots
        while not self._is_over:
            self._wakeup.clear()
            message = self._queue.take(domain_slots, self._wakeup)
            if message is None:
                if self._all_queued and not self._queue.count:
                    return
                if connection_lease.is_held:
                    self._write(changes)
                    await connection_lease.release()
                    continue  # a message may have become sendable meanwhile
                self._needs_more.set()
                await self._wait_for(self._wakeup, self._queue.wait_s())
                continue
            if self._queue.count < 2 * self._transport.connections:
                self._needs_more.set()
            domain_slots.enter(message.domain)
            answered_s: float | None = None
            try:
                answered_s = await self._send_one(message, connection_lease, changes)
            finally:
                others_wait = domain_slots.leave(message.domain, answered_s, self._wakeup)
            if others_wait:
                await asyncio.sleep(0)  # lets the waiters go first

    async def _send_one(
        self, message: OutgoingMessage, connection_lease: ConnectionLease, changes: list[StateChange]
    ) -> float | None:
        """Return the seconds until the reply; infinity if none came, None if the message was queued again."""
        transport = self._transport
        try:
            connection = await connection_lease.connection()
        except Unreachable as away:  # this does not count against the recipient
            self._hold(away.reply, min(away.after_s, LOOK_AGAIN_S))
            self._queue.put(message)
            self._stop()
            return None
        permit = transport.pacer.permit(connection.relay.name, self._tenant, message.domain)
        wait_s = await transport.pacer.take(permit)
        if wait_s:
            self._queue.put(message, after_s=wait_s)
            return None
        try:
            finish, content = self._finish, message.content
            if finish is not None:
                content = await asyncio.to_thread(finish, content)
            envelope = Envelope(message.sender, message.recipient, content)
            begun = time.monotonic()
            reply = await connection.send(envelope, lambda: self._mark_sending(message, changes))
        finally:
            transport.pacer.done(permit)
        subject = about(reply)
        self._judge(message, reply, subject)
        changes.append(self._state_change(message, reply, subject))
        if subject is not About.DELIVERY:
            return None
        return math.inf if reply.code is None else time.monotonic() - begun

    def _judge(self, message: OutgoingMessage, reply: Reply, subject: About) -> None:
        """Draw from a reply what it means for the others of the letter."""
        if subject is About.DELIVERY:
            self._sender_refusals = 0 if reply.accepted else self._sender_refusals
            return
        self.refusal = reply
        if subject is About.RELAY:
            held_s = self._transport.relays.held_s
            if held_s > 0:
                self._hold(reply, min(held_s, LOOK_AGAIN_S))
            return
        self._sender_refusals += 1
        if self._sender_refusals >= SENDER_REFUSALS_AT_MOST:
            self._hold(reply, _held_s(message.age_s))
            self._stop()

    def _hold(self, reply: Reply, after_s: float) -> None:
        """Let all recipients that are left wait."""
        self.refusal, self.is_held = reply, True
        self._retry_in_s = max(self._retry_in_s, after_s)

    async def _mark_sending(self, message: OutgoingMessage, changes: list[StateChange]) -> None:
        """Record that the final dot is about to be sent: from here on the relay may have the message.

        The result of the previous message is written in the same statement. So if this process dies, at most one
        message per connection is in doubt. Raises NoLongerOurs.
        """
        self._write(changes)
        if not await self._transport.states.write(
            StateChange(self._letter_id, message.number, self._attempt, State.SENDING)
        ):
            raise NoLongerOurs

    def _write(self, changes: list[StateChange]) -> None:
        """Begin to write state changes. `run` waits for them at its end."""
        self._writes += [self._transport.states.write(change) for change in changes]
        changes.clear()

    def _state_change(self, message: OutgoingMessage, reply: Reply, subject: About) -> StateChange:
        state, retry_in_s = self._outcome(message, reply, subject)
        if state not in (State.DEFERRED, State.QUEUED):
            self._brake.count(bounced=state is State.BOUNCED)
            if self._brake.is_on:
                self._stop()
        self._report(self._brake.ended)
        possible_duplicates = int(reply.in_doubt and message.again)
        at_recipient = reply.phase is Phase.RCPT
        return StateChange(
            self._letter_id,
            message.number,
            self._attempt,
            state,
            reply.code,
            reply.enhanced,
            stored_text(reply),
            retry_in_s,
            possible_duplicates,
            at_recipient,
        )

    def _outcome(self, message: OutgoingMessage, reply: Reply, subject: About) -> tuple[State, float]:
        """Return the state of the recipient, and the seconds after which it is tried again.

        It stays queued where it is not to blame. One that is refused because of the sender has bounced all the
        same when the letter is too old: some relays refuse single mailboxes with the same codes.
        """
        if subject is About.RELAY:
            return State.QUEUED, 0.0
        if subject is About.SENDER and message.age_s <= self._transport.give_up_after_s:
            return State.QUEUED, _held_s(message.age_s)
        if reply.accepted:
            return State.SENT, 0.0
        if reply.in_doubt and not message.again:
            return State.UNKNOWN, 0.0
        if reply.refused or message.age_s > self._transport.give_up_after_s:
            return State.BOUNCED, 0.0
        return State.DEFERRED, self._transport.retry.delay_s(message.tries + 1)


def _held_s(age_s: float) -> float:
    """Return for how many seconds a letter of that age is held whose sender was refused."""
    return min(HELD_AT_MOST_S, max(HELD_AT_LEAST_S, age_s / 2))


def _is_cancelled(error: BaseException) -> bool:
    return isinstance(error, asyncio.CancelledError)
