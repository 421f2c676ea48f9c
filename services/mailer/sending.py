"""Sends the messages of one job: over as many connections as are free, domains in turn, within the limits.

A domain that is slow, or must wait, holds up no other: whoever is free takes a message to the domain that has the
fewest under way, and one that does not answer gets few (traffic.py).
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from libs.common.backoff import Backoff
from services.mailer.dialogue import Envelope, Phase, Reply
from services.mailer.letters import Mark, Marks, State
from services.mailer.pacing import Pacer
from services.mailer.refusals import NoLongerOurs
from services.mailer.smtp import Lane, Relays, Unreachable
from services.mailer.traffic import Traffic

DEFER_AT_MOST_S = 3600.0
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

    def put(self, mail: Mail, *, after_s: float = 0.0) -> None:
        """Take a message in; its whole domain waits `after_s` seconds."""
        mails = self.waiting.setdefault(mail.domain, deque())
        if after_s:
            mails.appendleft(mail)
            self.ready_at[mail.domain] = time.monotonic() + after_s
        else:
            mails.append(mail)

    def take(self, traffic: Traffic) -> Mail | None:
        """The next message that may go, if one may."""
        now = time.monotonic()
        ready = [domain for domain in self.waiting if self.ready_at.get(domain, 0.0) <= now]
        if not ready:
            return None
        domain = min(ready, key=traffic.load)
        mails = self.waiting[domain]
        mail = mails.popleft()
        if not mails:
            del self.waiting[domain]
        return mail

    def wait_s(self) -> float:
        """Until a domain is ready; there is one."""
        return max(0.0, min(self.ready_at.get(domain, 0.0) for domain in self.waiting) - time.monotonic())


@dataclass(frozen=True, slots=True)
class Post:
    """What all jobs of a process share to send with."""

    relays: Relays
    marks: Marks
    pacer: Pacer
    retry: Backoff
    give_up_after_s: float
    connections: int
    """To one relay."""
    traffic: Traffic


class Sending:
    """Some of a job's messages on their way. `finish`: what a message still needs."""

    def __init__(
        self,
        post: Post,
        letter: UUID,
        attempt: int,
        tenant: str,
        mails: Sequence[Mail],
        finish: Callable[[bytes], bytes] | None,
    ) -> None:
        self._post = post
        self._letter = letter
        self._attempt = attempt
        self._tenant = tenant
        self._finish = finish
        self._outbox = Outbox()
        for mail in mails:
            self._outbox.put(mail)
        self._marking: list[asyncio.Future[bool]] = []
        self._until = time.monotonic() + TURN_S
        self._stopping = asyncio.Event()
        self._away_s = 0.0
        self.ended = 0
        """Messages of which it is known what became of them."""

    async def run(self, report: Callable[[int], None]) -> float:
        """Send what can be sent now; seconds until it is worth going on, if something has stopped it, or 0.0.

        `report` is told how many have ended. Cancelled, it sees to the end what is on its way. Raises
        NoLongerOurs.
        """
        self._report = report
        waiting = sum(len(mails) for mails in self._outbox.waiting.values())
        senders = [asyncio.create_task(self._send()) for _ in range(min(waiting, self._post.connections))]
        try:
            if senders:
                await asyncio.wait(senders, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._stopping.set()
            if senders:
                await asyncio.wait(senders, timeout=LET_GO_S)
            for sender in senders:
                sender.cancel()
            ends = await asyncio.gather(*senders, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        if not all(await asyncio.gather(*self._marking)):
            raise NoLongerOurs
        return max(self._away_s, TURN_OVER_S if self._outbox.waiting else 0.0)

    async def _send(self) -> None:
        lane, reports = Lane(self._post.relays), list[Mark]()
        try:
            await self._send_all(lane, reports)
        finally:
            self._write(reports)
            await lane.leave()

    async def _send_all(self, lane: Lane, reports: list[Mark]) -> None:
        """Send one message after the other. `reports`: what became of them, and is not written yet."""
        traffic = self._post.traffic
        while not self._stopping.is_set() and time.monotonic() < self._until:
            mail = self._outbox.take(traffic)
            if mail is None:
                if not self._outbox.waiting:
                    return
                self._write(reports)
                await lane.leave()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._outbox.wait_s()):
                        await self._stopping.wait()
                continue
            if not traffic.enter(mail.domain):
                self._write(reports)
                await lane.leave()
                if not await self._let_in(mail):
                    return
            answered_s: float | None = None
            try:
                answered_s = await self._send_one(mail, lane, reports)
            finally:
                traffic.leave(mail.domain, answered_s)

    async def _let_in(self, mail: Mail) -> bool:
        """Wait for room in the traffic to its domain; False: it is time to stop, and the message stays here."""
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                await self._post.traffic.wait(mail.domain)
        except TimeoutError:
            self._outbox.put(mail)
            return False
        if self._stopping.is_set():
            self._post.traffic.leave(mail.domain, None)
            self._outbox.put(mail)
            return False
        return True

    async def _send_one(self, mail: Mail, lane: Lane, reports: list[Mark]) -> float | None:
        """Seconds until it was answered, infinite if it was not; None: nobody was asked, and it stays here."""
        post = self._post
        try:
            connection = await lane.connection()
        except Unreachable as away:  # no fault of the recipient's
            self._away_s = max(self._away_s, away.after_s)
            self._stopping.set()
            self._outbox.put(mail)
            return None
        permit = post.pacer.permit(connection.relay, self._tenant, mail.domain)
        wait_s = await post.pacer.take(permit)
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
            post.pacer.done(permit)
        reports.append(self._report_on(mail, reply))
        return math.inf if reply.code is None else time.monotonic() - begun

    async def _announce(self, mail: Mail, reports: list[Mark]) -> None:
        """The data is about to end: from here on the message may have arrived. Raises NoLongerOurs.

        What became of the message before travels in the same statement: one is in doubt at most, if this dies.
        """
        self._write(reports)
        if not await self._post.marks.write(Mark(self._letter, mail.number, self._attempt, State.SENDING)):
            raise NoLongerOurs

    def _write(self, reports: list[Mark]) -> None:
        """Not waited for before the end."""
        self._marking += [self._post.marks.write(report) for report in reports]
        reports.clear()

    def _report_on(self, mail: Mail, reply: Reply) -> Mark:
        state, retry_in_s = self._verdict(mail, reply)
        self.ended += state is not State.DEFERRED
        self._report(self.ended)
        text = reply.text.replace("\x00", "")[:500]
        doubts = int(reply.in_doubt and mail.again)
        at_recipient = reply.phase is Phase.RCPT
        return Mark(
            self._letter,
            mail.number,
            self._attempt,
            state,
            reply.code,
            reply.enhanced,
            text,
            retry_in_s,
            doubts,
            at_recipient,
        )

    def _verdict(self, mail: Mail, reply: Reply) -> tuple[State, float]:
        if reply.accepted:
            return State.SENT, 0.0
        if reply.in_doubt and not mail.again:
            return State.UNKNOWN, 0.0
        if reply.refused or mail.age_s > self._post.give_up_after_s:
            return State.BOUNCED, 0.0
        return State.DEFERRED, self._post.retry.delay_s(mail.tries + 1)
