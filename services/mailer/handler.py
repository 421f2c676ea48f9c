"""The mailer's job handler. Read this first.

A letter to up to RECIPIENTS_PER_PART recipients is sent by one job. A letter to more fans out into parts, which
any worker can take. Every recipient has a row with its delivery state (letters.py). A job that is retried
continues with the recipients that are still open. A job whose recipients must wait is snoozed until the first of
them is due.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from redis.asyncio import Redis

from libs.common import background, metrics
from libs.common.backoff import Backoff, until_available
from libs.common.blobs import Blobs
from libs.common.contracts.mail import Mailbox, MailPayload, Part, StoredLetter, parse_mailbox
from libs.common.db import Database
from libs.common.errors import storable
from libs.common.ledger.flows import NewChild
from libs.common.ledger.jobs import State as JobState
from libs.common.sandbox import Limits, Refusals, Sandbox
from libs.common.worker.job import Done, FanOut, Job, Snooze
from libs.common.worker.service import Platform
from services.mailer import deadline_reminders, letters, templates
from services.mailer.bounce_brake import BounceBrake
from services.mailer.bounces import ReportServer
from services.mailer.compose import attachments, signing
from services.mailer.compose.attachments import AttachmentParts
from services.mailer.compose.content import Addressee, check, needs_sandbox
from services.mailer.compose.signing import Key
from services.mailer.composing import Composer
from services.mailer.config import Settings
from services.mailer.delivery_hours import wait_s
from services.mailer.letters import TEMPLATE_FAILED, Counts, Row, State, StateChange, StateWriter
from services.mailer.preview_slots import PREVIEW_S, PreviewSlots
from services.mailer.recipient_tokens import RETURN_PREFIX, RecipientTokens, Subscriber
from services.mailer.refusals import (
    ComposingCrashed,
    ComposingTooLarge,
    ComposingTooSlow,
    MostBounced,
    NobodyReached,
    PartsFailed,
)
from services.mailer.sending import DEFER_AT_MOST_S, Delivery, OutgoingMessage, Transport
from services.mailer.smtp.connection import Relays
from services.mailer.smtp.domain_slots import DomainSlots
from services.mailer.smtp.pacing import Pacer

RECIPIENTS_PER_PART = 500
"""Enough that starting a sandboxed process per part costs little, few enough that parts spread over workers."""
COMPOSED_AT_ONCE_BYTES = 8 * 1024 * 1024
"""Estimated bytes of the messages composed at once, at four bytes for each character of template and variables."""
SNOOZE_AT_LEAST_S = 1.0
FORGET_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Deps:
    """The handler's dependencies."""

    settings: Settings
    database: Database
    blobs: Blobs
    sandbox: Sandbox
    transport: Transport
    keys: Mapping[tuple[str, str], Sequence[Key]]
    """DKIM keys, by tenant and domain."""
    tokens: RecipientTokens | None
    preview_slots: PreviewSlots


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open the dependencies of `handle`, and run the background tasks of the mailer."""
    limits = Limits(settings.mail_compose_memory_mb * 1024 * 1024, settings.mail_compose_timeout_s)
    refusals = Refusals(ComposingTooSlow, ComposingTooLarge, ComposingCrashed)
    sandbox = Sandbox(limits, refusals, package="services.mailer", preload=["services.mailer.compose.content"])
    keys = signing.load_keys(Path(settings.mail_dkim_keys)) if settings.mail_dkim_keys else {}
    tokens = RecipientTokens(settings.mail_secret.get_secret_value()) if settings.mail_secret else None
    relays = Relays(
        settings.relay_urls,
        connections=settings.mail_connections,
        timeout_s=settings.mail_timeout_s,
        helo=settings.mail_helo,
    )
    metrics.show_from_the_start(metrics.mail_recipients, state=State)
    metrics.show_from_the_start(metrics.mail_reports, kind=("bounce", "complaint"))
    redis = Redis.from_url(  # as in the gateway
        settings.redis_address, client_name="argosy-mailer", protocol=2, driver_info=None
    )
    pacer = Pacer(redis, settings.rates)
    states = StateWriter(platform.database)
    retry = Backoff(settings.mail_retry_s, DEFER_AT_MOST_S)
    connections = settings.mail_connections
    domain_slots = DomainSlots(connections)
    transport = Transport(relays, states, pacer, retry, settings.mail_give_up_after_s, connections, domain_slots)
    try:
        async with (
            pacer.holding(),
            relays.sweeping(),
            _receiving_reports(settings, platform.database, tokens),
            background.alongside(background.optional(_delete_old_regularly(platform.database))),
        ):
            preview_slots = PreviewSlots(sandbox.lasting(PREVIEW_S / settings.mail_compose_timeout_s))
            yield Deps(
                settings, platform.database, platform.blobs, sandbox, transport, keys, tokens, preview_slots
            )
    finally:
        await redis.aclose()


@asynccontextmanager
async def _receiving_reports(
    settings: Settings, database: Database, tokens: RecipientTokens | None
) -> AsyncIterator[None]:
    if settings.mail_lmtp_port is None or tokens is None:
        yield
        return
    async with ReportServer(database, tokens).listening(settings.mail_lmtp_host, settings.mail_lmtp_port):
        yield


async def _delete_old_regularly(database: Database) -> None:
    """Delete letters whose jobs are gone and deadlines long past, every FORGET_EVERY_S seconds."""
    while True:
        with background.surviving("_delete_old_regularly"):
            await letters.forget(database)
            await deadline_reminders.forget(database)
        await asyncio.sleep(FORGET_EVERY_S)


async def handle(job: Job[MailPayload], deps: Deps) -> Done | FanOut | Snooze:
    """Send a letter or a part of one, or move deadlines.

    Fan out a large letter, and summarise it when its parts have ended.
    """
    part, moved = job.payload.part, job.payload.moved
    if moved:
        number = await until_available(lambda: deadline_reminders.move(deps.database, job.tenant, moved))
        return Done({"deadlines": number}, forget_payload=True)
    if part is None:
        if job.children:
            return await _summarise(job, deps)
        total = await _store(job, deps)
        part = Part(letter=job.id.hex, first=0, last=total - 1)
        if total > RECIPIENTS_PER_PART:
            return FanOut(tuple(_parts(job.id, total)))
    return await _send(job, deps, UUID(hex=part.letter), part)


def _parts(letter_id: UUID, total: int) -> list[NewChild]:
    parts = [
        Part(letter=letter_id.hex, first=first, last=min(first + RECIPIENTS_PER_PART, total) - 1)
        for first in range(0, total, RECIPIENTS_PER_PART)
    ]
    return [NewChild("part", MailPayload(part=part).model_dump_json().encode()) for part in parts]


async def _store(job: Job[MailPayload], deps: Deps) -> int:
    """Store the letter and its recipients. Returns their number. Raises TemplateInvalid, TemplateMissing."""
    payload = job.payload
    assert payload.letter is not None  # noqa: S101 - only parts have none
    requested = payload.letter
    letter = await until_available(lambda: templates.resolve(deps.database, job.tenant, requested))
    stored = StoredLetter(
        letter=letter,
        to=payload.to,
        cc=payload.cc,
        attachments=payload.attachments,
        is_template=payload.is_template,
    )
    if needs_sandbox(stored):  # compiling already runs untrusted code: constants are folded
        await deps.sandbox.run(check, stored)
    if payload.days_before:
        return await until_available(
            lambda: deadline_reminders.store(deps.database, job.id, job.tenant, stored, payload, datetime.now(UTC))
        )
    now = datetime.now(UTC)
    waits = [wait_s(letter, recipient.time_zone, now, is_first=True) for recipient in payload.recipients]
    await until_available(
        lambda: letters.store(deps.database, job.id, job.tenant, stored, payload.recipients, waits)
    )
    return len(payload.recipients)


async def _send(job: Job[MailPayload], deps: Deps, letter_id: UUID, part: Part) -> Done | Snooze:
    """Send to all recipients of the part that are due."""
    stored = await until_available(lambda: letters.load(deps.database, letter_id))
    retried, first, last = job.retried, part.first, part.last
    if retried is not None:
        await until_available(lambda: letters.reopen(deps.database, letter_id, first, last, job.attempt, retried))
    since = None if retried is None else retried.at
    rows = await until_available(lambda: letters.claim(deps.database, letter_id, first, last, job.attempt, since))
    ended = part.last - part.first + 1 - len(rows)
    total = ended + len(rows)
    job.progress(ended, total)
    due = await _select_due(deps, stored, letter_id, job.attempt, rows)
    parts = await attachments.fetch(deps.blobs, stored.attachments)
    finish = _finish(parts, deps.keys.get((job.tenant, parse_mailbox(stored.letter.sender).domain), ()))

    async def supply() -> AsyncGenerator[list[OutgoingMessage], None]:
        for rows in _slices(stored, due):
            async with aclosing(_compose_messages(job, deps, letter_id, stored, rows)) as batches:
                async for messages in batches:
                    yield messages

    sending = Delivery(deps.transport, letter_id, job.attempt, job.tenant, supply(), len(due), ended, finish)
    retry_in_s = await sending.run(lambda ended: job.progress(ended, total))
    if sending.is_held and (refusal := sending.refusal) is not None:
        await until_available(
            lambda: letters.note_refusal(deps.database, letter_id, part.first, part.last, job.attempt, refusal)
        )
    counts = await until_available(lambda: letters.count(deps.database, letter_id, part.first, part.last))
    job.progress(counts.ended, counts.total, sending.note)
    if counts.due_in_s is not None:
        _refuse_if_most_bounce(counts)
        return Snooze(max(SNOOZE_AT_LEAST_S, retry_in_s, counts.due_in_s))
    if job.parent is None:
        _refuse_if_nobody_was_reached(counts)
    return Done(_result(counts))


def _slices(stored: StoredLetter, rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Split rows into slices composed at once. Their messages must fit into memory and the sandbox's reply."""
    each = 1000 + 4 * (len(stored.letter.text or "") + len(stored.letter.html or ""))
    slice_, size = list[Row](), 0
    for row in rows:
        row_size = each + 4 * len(row.variables)
        if slice_ and size + row_size > COMPOSED_AT_ONCE_BYTES:
            yield slice_
            slice_, size = [], 0
        slice_.append(row)
        size += row_size
    if slice_:
        yield slice_


async def _select_due(
    deps: Deps, stored: StoredLetter, letter_id: UUID, attempt: int, rows: Sequence[Row]
) -> list[Row]:
    """Return the recipients that may get mail now. Those in their quiet hours are postponed to the end of them."""
    now = datetime.now(UTC)
    due, postponed = list[Row](), list[StateChange]()
    for row in rows:
        if row.due_in_s > 0:
            continue
        quiet_s = wait_s(stored.letter, row.time_zone, now, is_first=False)
        if quiet_s:
            postponed.append(StateChange(letter_id, row.number, attempt, State.QUEUED, retry_in_s=quiet_s))
        else:
            due.append(row)
    await asyncio.gather(*map(deps.transport.states.write, postponed))
    return due


async def _compose_messages(
    job: Job[MailPayload], deps: Deps, letter_id: UUID, stored: StoredLetter, rows: Sequence[Row]
) -> AsyncGenerator[list[OutgoingMessage], None]:
    """Compose the messages. Recipients whose message cannot be composed are cancelled."""
    settings, since = deps.settings, None if job.retried is None else job.retried.at
    limits = settings.mail_compose_timeout_s, settings.mail_compose_memory_mb
    composer = Composer(deps.sandbox, *limits, deps.database, letter_id, since)
    addressees = [_addressee(job, deps, letter_id, stored, row) for row in rows]
    date = format_datetime(datetime.now(UTC))
    waiting = {row.number: row for row in rows}
    async with aclosing(composer.compose(stored, addressees, date)) as batches:
        async for composed in batches:
            messages, failed = list[OutgoingMessage](), list[StateChange]()
            for result in composed:
                row = waiting[result.number]
                if result.problem is None:
                    messages.append(_outgoing_message(deps, letter_id, stored, row, result.content))
                else:
                    reason = storable(f"{TEMPLATE_FAILED}{result.problem}")
                    failed.append(StateChange(letter_id, row.number, job.attempt, State.CANCELLED, reply=reason))
            await asyncio.gather(*map(deps.transport.states.write, failed))
            yield messages


def _addressee(job: Job[MailPayload], deps: Deps, letter_id: UUID, stored: StoredLetter, row: Row) -> Addressee:
    """The Message-ID is the same for every try, so that receivers can recognise duplicates."""
    sender = parse_mailbox(stored.letter.sender)
    name = f"argosy:{letter_id.hex}:{row.number}" if stored.is_template else f"argosy:{letter_id.hex}"
    unsubscribe = None
    if stored.letter.unsubscribe and deps.tokens is not None and deps.settings.public_url is not None:
        token = deps.tokens.make_link(Subscriber(letter_id, job.tenant, row.address))
        unsubscribe = f"{deps.settings.public_url}/v1/unsubscribe/{token}"
    message_id = f"<{uuid5(NAMESPACE_URL, name).hex}@{sender.domain}>"
    return Addressee(row.number, Mailbox(row.name, row.address), row.variables, message_id, unsubscribe)


def _outgoing_message(
    deps: Deps, letter_id: UUID, stored: StoredLetter, row: Row, content: bytes
) -> OutgoingMessage:
    sender = parse_mailbox(stored.letter.sender).address
    if deps.settings.mail_bounce_domain and deps.tokens is not None:
        sender = f"{RETURN_PREFIX}{deps.tokens.make(letter_id, row.number)}@{deps.settings.mail_bounce_domain}"
    again = stored.letter.on_unknown == "resend"
    return OutgoingMessage(row.number, sender, row.address, row.domain, content, row.tries, row.age_s, again)


def _finish(parts: AttachmentParts, keys: Sequence[Key]) -> Callable[[bytes], bytes] | None:
    """Return a function that adds attachments and DKIM signatures to a message. None: there are none."""
    if parts == AttachmentParts() and not keys:
        return None
    return lambda content: signing.sign(parts.wrap(content), keys)


async def _summarise(job: Job[MailPayload], deps: Deps) -> Done:
    """Summarise a letter whose parts have ended. Raises PartsFailed. A retry repeats only the failed parts."""
    failed = [child for child in job.children if child.state is not JobState.SUCCEEDED]
    if failed:
        reason = (failed[0].error or {"message": "It was cancelled."})["message"]
        raise PartsFailed(f"{len(failed)} of {len(job.children)} parts were not sent. The first: {reason}")
    counts = await until_available(lambda: letters.count(deps.database, job.id))
    job.progress(counts.ended, counts.total)
    _refuse_if_nobody_was_reached(counts)
    return Done(_result(counts))


def _refuse_if_most_bounce(counts: Counts) -> None:
    """Raises MostBounced."""
    bounced = counts.by_state.get(State.BOUNCED, 0)
    if BounceBrake(counts.ended, bounced).is_on:
        raise MostBounced(f"Of the first {counts.ended} recipients, {bounced} bounced. The others were not tried.")


def _refuse_if_nobody_was_reached(counts: Counts) -> None:
    """Raises NobodyReached."""
    if counts.reached_nobody:
        numbers = ", ".join(f"{number} {state}" for state, number in sorted(counts.by_state.items()))
        raise NobodyReached(f"Nobody was reached. Of {counts.total} recipients: {numbers}.")


def _result(counts: Counts) -> dict[str, int]:
    """Return the number of recipients, in all and by state."""
    return {"recipients": counts.total} | {state: number for state, number in sorted(counts.by_state.items())}
