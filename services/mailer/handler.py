"""The meaning of the mailer. Read this first.

A letter to a few is sent by one job. One to many fans out into parts, which any worker takes. Every recipient has
a row of its own (letters.py): a job that is tried again, by whomever, goes on with those that are still open, and
one with recipients that must wait is put off until the first of them is due.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from redis.asyncio import Redis

from libs.common import background, log
from libs.common.backoff import Backoff, until_available
from libs.common.blobs import Blobs
from libs.common.contracts.mail import Mailbox, MailPayload, Part, StoredLetter, parse_mailbox
from libs.common.db import Database
from libs.common.errors import Unavailable
from libs.common.ledger.flows import NewChild
from libs.common.ledger.jobs import State as JobState
from libs.common.sandbox.sandbox import Limits, Refusals, Sandbox
from libs.common.worker.job import Done, FanOut, Job, Snooze, storable
from libs.common.worker.service import Platform
from services.mailer import letters, reminders, templates
from services.mailer.bounces import Bounces
from services.mailer.compose import attachments, signing
from services.mailer.compose.attachments import Enclosure
from services.mailer.compose.content import Addressee, Composed, check, compose, needs_sandbox
from services.mailer.compose.signing import Key
from services.mailer.config import Settings
from services.mailer.delivery_hours import wait_s
from services.mailer.letters import Counts, Row, State, StateChange, StateWriter
from services.mailer.preview_slots import PREVIEW_S, PreviewSlots
from services.mailer.recipient_tokens import RETURN_PREFIX, RecipientTokens
from services.mailer.refusals import ComposingCrashed, ComposingTooLarge, ComposingTooSlow, PartsFailed
from services.mailer.sending import DEFER_AT_MOST_S, Delivery, Mail, Transport
from services.mailer.smtp.connection import Relays
from services.mailer.smtp.domain_slots import DomainSlots
from services.mailer.smtp.pacing import Pacer

PART = 500
"""Recipients of one job: enough that a process for their templates costs little, few enough to spread."""
COMPOSED_AT_ONCE_BYTES = 8 * 1024 * 1024
"""Of messages, if a character is four bytes by the time it is in one."""
SOON_S = 1.0
FORGET_EVERY_S = 3600.0


logger = log.get("mailer")


@dataclass(frozen=True, slots=True)
class Deps:
    """What the handler needs."""

    settings: Settings
    database: Database
    blobs: Blobs
    sandbox: Sandbox
    transport: Transport
    keys: Mapping[tuple[str, str], Sequence[Key]]
    """DKIM's, by tenant and domain."""
    tokens: RecipientTokens | None
    preview_slots: PreviewSlots


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open what `handle` needs."""
    limits = Limits(settings.mail_compose_memory_mb * 1024 * 1024, settings.mail_compose_timeout_s)
    refusals = Refusals(ComposingTooSlow, ComposingTooLarge, ComposingCrashed)
    sandbox = Sandbox(limits, refusals, package="services.mailer", preload=["services.mailer.compose.content"])
    keys = signing.load_keys(Path(settings.mail_dkim_keys)) if settings.mail_dkim_keys else {}
    tokens = RecipientTokens(settings.mail_secret.get_secret_value()) if settings.mail_secret else None
    relays = Relays(settings.relay_urls, connections=settings.mail_connections, timeout_s=settings.mail_timeout_s)
    redis = Redis.from_url(settings.redis_address)
    pacer = Pacer(redis, settings.rates)
    states = StateWriter(platform.database)
    retry = Backoff(settings.mail_retry_s, DEFER_AT_MOST_S)
    connections = settings.mail_connections
    domain_slots = DomainSlots(connections)
    transport = Transport(relays, states, pacer, retry, settings.mail_give_up_after_s, connections, domain_slots)
    try:
        async with (
            pacer.holding(),
            _taking_bounces(settings, platform.database, tokens),
            background.alongside(_forget_for_ever(platform.database)),
        ):
            preview_slots = PreviewSlots(sandbox.lasting(PREVIEW_S / settings.mail_compose_timeout_s))
            yield Deps(
                settings, platform.database, platform.blobs, sandbox, transport, keys, tokens, preview_slots
            )
    finally:
        await relays.close()
        await redis.aclose()


@asynccontextmanager
async def _taking_bounces(
    settings: Settings, database: Database, tokens: RecipientTokens | None
) -> AsyncIterator[None]:
    if settings.mail_lmtp_port is None or tokens is None:
        yield
        return
    async with Bounces(database, tokens).listening(settings.mail_lmtp_host, settings.mail_lmtp_port):
        yield


async def _forget_for_ever(database: Database) -> None:
    """Remove letters whose jobs are gone, and deadlines that have passed, now and then."""
    while True:
        try:
            await letters.forget(database)
            await reminders.forget(database)
        except Unavailable as error:
            logger.warning("letters.not_forgotten", error=str(error))
        except Exception:
            logger.exception("letters.not_forgotten")
        await asyncio.sleep(FORGET_EVERY_S)


async def handle(job: Job[MailPayload], deps: Deps) -> Done | FanOut | Snooze:
    """Send a letter, or a part of one; or begin one to many, or sum it up when all its parts have ended."""
    part = job.payload.part
    if part is None:
        if job.children:
            return await _summed_up(job, deps)
        total = await _enter(job, deps)
        part = Part(letter=job.id.hex, first=0, last=total - 1)
        if total > PART:
            return FanOut(tuple(_parts(job.id, total)))
    return await _send(job, deps, UUID(hex=part.letter), part)


def _parts(letter: UUID, total: int) -> list[NewChild]:
    parts = [
        Part(letter=letter.hex, first=first, last=min(first + PART, total) - 1) for first in range(0, total, PART)
    ]
    return [NewChild("part", MailPayload(part=part).model_dump_json().encode()) for part in parts]


async def _enter(job: Job[MailPayload], deps: Deps) -> int:
    """Keep the letter and its recipients; how many they are. Raises TemplateInvalid, TemplateMissing."""
    payload = job.payload
    assert payload.letter is not None  # noqa: S101 - only parts have none
    named = payload.letter
    letter = await until_available(lambda: templates.filled(deps.database, job.tenant, named))
    head = StoredLetter(
        letter=letter,
        to=payload.to,
        cc=payload.cc,
        attachments=payload.attachments,
        is_template=payload.is_template,
    )
    if head.is_template:  # reading one is running somebody's program already: constants are folded
        await deps.sandbox.run(check, head)
    if payload.days_before:
        return await until_available(
            lambda: reminders.enter(deps.database, job.id, job.tenant, head, payload, datetime.now(UTC))
        )
    now = datetime.now(UTC)
    waits = [wait_s(letter, recipient.time_zone, now, is_first=True) for recipient in payload.recipients]
    await until_available(
        lambda: letters.enter(deps.database, job.id, job.tenant, head, payload.recipients, waits)
    )
    return len(payload.recipients)


async def _send(job: Job[MailPayload], deps: Deps, letter: UUID, part: Part) -> Done | Snooze:
    """Write to all who are due."""
    head = await until_available(lambda: letters.load(deps.database, letter))
    rows = await until_available(lambda: letters.claim(deps.database, letter, part.first, part.last, job.attempt))
    ended = part.last - part.first + 1 - len(rows)
    total = ended + len(rows)
    job.progress(ended, total)
    due = await _due(deps, head, letter, job.attempt, rows)
    enclosure = await attachments.fetch(deps.blobs, head.attachments)
    finish = _finish(enclosure, deps.keys.get((job.tenant, parse_mailbox(head.letter.sender).domain), ()))

    async def supply() -> AsyncGenerator[list[Mail], None]:
        for rows in _slices(head, due):
            yield await _mails(job, deps, letter, head, rows)

    sending = Delivery(deps.transport, letter, job.attempt, job.tenant, supply(), len(due), finish)
    away_s = await sending.run(lambda more: job.progress(ended + more, total))
    counts = await until_available(lambda: letters.count(deps.database, letter, part.first, part.last))
    job.progress(counts.ended, counts.total)
    if counts.due_in_s is not None:
        return Snooze(max(SOON_S, away_s, counts.due_in_s))
    return Done(_result(counts))


def _slices(head: StoredLetter, rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Those whose messages are put together at a time: it must fit into memory, and into the sandbox's answer."""
    each = 1000 + 4 * (len(head.letter.text or "") + len(head.letter.html or ""))
    together, size = list[Row](), 0
    for row in rows:
        more = each + 4 * len(row.variables)
        if together and size + more > COMPOSED_AT_ONCE_BYTES:
            yield together
            together, size = [], 0
        together.append(row)
        size += more
    if together:
        yield together


async def _due(deps: Deps, head: StoredLetter, letter: UUID, attempt: int, rows: Sequence[Row]) -> list[Row]:
    """Those who may be written to now. The others wait: until they are due, or for their morning."""
    now = datetime.now(UTC)
    due, late = list[Row](), list[StateChange]()
    for row in rows:
        if row.due_in_s > 0:
            continue
        quiet_s = wait_s(head.letter, row.time_zone, now, is_first=False)
        if quiet_s:
            late.append(StateChange(letter, row.number, attempt, State.QUEUED, retry_in_s=quiet_s))
        else:
            due.append(row)
    await asyncio.gather(*map(deps.transport.states.write, late))
    return due


async def _mails(
    job: Job[MailPayload], deps: Deps, letter: UUID, head: StoredLetter, rows: Sequence[Row]
) -> list[Mail]:
    """Their messages. Whoever's cannot be put together is given up."""
    addressees = [_addressee(deps, letter, head, row) for row in rows]
    date = format_datetime(datetime.now(UTC))
    if needs_sandbox(head):
        composed = await deps.sandbox.run(compose, head, addressees, date)
    else:
        composed = compose(head, addressees, date)
    mails, given_up = list[Mail](), list[StateChange]()
    for row, made in zip(rows, composed, strict=True):
        if made.problem is None:
            mails.append(_mail(deps, letter, head, row, made))
        else:
            reason = storable(f"template: {made.problem}")
            given_up.append(StateChange(letter, row.number, job.attempt, State.CANCELLED, reply=reason))
    await asyncio.gather(*map(deps.transport.states.write, given_up))
    return mails


def _addressee(deps: Deps, letter: UUID, head: StoredLetter, row: Row) -> Addressee:
    """Its Message-ID is the same whenever and by whomever it is sent."""
    sender = parse_mailbox(head.letter.sender)
    name = f"argosy:{letter.hex}:{row.number}" if head.is_template else f"argosy:{letter.hex}"
    unsubscribe = None
    if head.letter.unsubscribe and deps.tokens is not None and deps.settings.mail_unsubscribe_url is not None:
        unsubscribe = f"{deps.settings.mail_unsubscribe_url.rstrip('/')}/{deps.tokens.make(letter, row.number)}"
    message_id = f"<{uuid5(NAMESPACE_URL, name).hex}@{sender.domain}>"
    return Addressee(row.number, Mailbox(row.name, row.address), row.variables, message_id, unsubscribe)


def _mail(deps: Deps, letter: UUID, head: StoredLetter, row: Row, made: Composed) -> Mail:
    sender = parse_mailbox(head.letter.sender).address
    if deps.settings.mail_bounce_domain and deps.tokens is not None:
        sender = f"{RETURN_PREFIX}{deps.tokens.make(letter, row.number)}@{deps.settings.mail_bounce_domain}"
    again = head.letter.on_unknown == "resend"
    return Mail(row.number, sender, row.address, row.domain, made.content, row.tries, row.age_s, again)


def _finish(enclosure: Enclosure, keys: Sequence[Key]) -> Callable[[bytes], bytes] | None:
    """What a message still needs: its files, and its signatures; None: nothing."""
    if enclosure == Enclosure() and not keys:
        return None
    return lambda content: signing.sign(enclosure.around(content), keys)


async def _summed_up(job: Job[MailPayload], deps: Deps) -> Done:
    """Raises PartsFailed; a retry goes on with those parts."""
    failed = [child for child in job.children if child.state is not JobState.SUCCEEDED]
    if failed:
        why = (failed[0].error or {"message": "It was cancelled."})["message"]
        raise PartsFailed(f"{len(failed)} of {len(job.children)} parts were not sent. The first: {why}")
    counts = await until_available(lambda: letters.count(deps.database, job.id))
    job.progress(counts.ended, counts.total)
    return Done(_result(counts))


def _result(counts: Counts) -> dict[str, int]:
    """How many recipients ended how."""
    return {"recipients": counts.total} | {state: number for state, number in sorted(counts.by_state.items())}
