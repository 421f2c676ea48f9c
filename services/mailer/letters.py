"""Letters and the delivery state of their recipients, in PostgreSQL.

The attempt number in a recipient's row is a fencing token: it names the attempt of the job that owns the row.
Every update states it. So a worker that has lost its job can change nothing. It cannot send either, because it
must write the state `sending` before each message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import NamedTuple
from uuid import UUID

from pydantic_core import to_json

from libs.common import metrics
from libs.common.backoff import until_available
from libs.common.batching import Batcher
from libs.common.contracts.mail import AddressedRecipient, StoredLetter
from libs.common.db import LONG_S, Connection, Database, fetch_within
from libs.common.errors import storable
from libs.common.ledger.claim import Retried
from libs.common.unnest import Columns
from services.mailer.refusals import LetterGone
from services.mailer.smtp.dialogue import Reply
from services.mailer.suppressions import is_hard, suppress_recipient


class State(StrEnum):
    """The delivery state of a recipient. The first three are not final."""

    QUEUED = "queued"
    DEFERRED = "deferred"
    SENDING = "sending"
    SENT = "sent"
    BOUNCED = "bounced"
    SUPPRESSED = "suppressed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


OPEN = (State.QUEUED, State.DEFERRED, State.SENDING)
EXPIRED = "expired"
TEMPLATE_FAILED = "template: "
"""How the reason begins why a recipient was cancelled for whom the letter could not be composed."""

_INSERT_LETTER = """
INSERT INTO mail.letters (id, tenant, content, expires_at)
VALUES ($1, $2, $3::jsonb, now() + $4 * interval '1 second') ON CONFLICT DO NOTHING RETURNING id
"""
_ENTERED: Columns[tuple[int, AddressedRecipient, float]] = Columns(
    number=("int", lambda entered: entered[0]),
    address=("text", lambda entered: entered[1].address),
    name=("text", lambda entered: entered[1].name),
    domain=("text", lambda entered: entered[1].domain),
    variables=("text", lambda entered: to_json(entered[1].variables).decode()),
    time_zone=("text", lambda entered: entered[1].time_zone),
    in_s=("float8", lambda entered: entered[2]),
)
_INSERT_RECIPIENTS = f"""
INSERT INTO mail.recipients
  (letter, number, tenant, address, name, domain, variables, time_zone, due_at, state)
SELECT $1, u.number, $2, u.address, u.name, u.domain, u.variables::json, u.time_zone,
  now() + u.in_s * interval '1 second',
  CASE WHEN s.address IS NULL THEN 'queued' ELSE 'suppressed' END
FROM {_ENTERED.unnested("u", first=3)}
LEFT JOIN mail.suppressions s ON s.tenant = $2 AND s.address = lower(u.address)
  AND (s.expires_at IS NULL OR s.expires_at > now())
"""  # noqa: S608 - made of constants
# A row that another attempt left in the state `sending` is in doubt: its message may or may not have been sent.
_CLAIM = """
WITH known AS (
  SELECT r.letter, r.number, r.state AS was, l.content #>> '{letter,on_unknown}' = 'resend' AS again,
    s.address IS NOT NULL AS suppressed, coalesce(l.expires_at < now(), false) AS expired,
    coalesce($5::timestamptz, l.created_at) AS begun_at
  FROM mail.recipients r JOIN mail.letters l ON l.id = r.letter
  LEFT JOIN mail.suppressions s ON s.tenant = r.tenant AND s.address = lower(r.address)
    AND (s.expires_at IS NULL OR s.expires_at > now())
  WHERE r.letter = $1 AND r.number BETWEEN $2 AND $3 AND r.state IN ('queued', 'deferred', 'sending')
  FOR UPDATE OF r)
UPDATE mail.recipients r SET
  state = CASE WHEN k.was = 'sending' AND NOT k.again THEN 'unknown'
               WHEN k.suppressed THEN 'suppressed' WHEN k.expired THEN 'cancelled'
               WHEN k.was = 'sending' THEN 'queued' ELSE k.was END,
  reply = CASE WHEN k.was = 'sending' THEN 'the worker died before it could record the reply'
               WHEN k.expired AND NOT k.suppressed THEN 'expired' ELSE r.reply END,
  attempt = CASE WHEN k.was = 'sending' AND NOT k.again THEN r.attempt ELSE $4 END,
  doubts = r.doubts + (k.was = 'sending' AND k.again)::int,
  updated_at = now()
FROM known k WHERE r.letter = k.letter AND r.number = k.number
RETURNING r.number, r.state, r.address, r.name, r.domain, r.variables::text, r.time_zone, r.tries,
  extract(epoch FROM r.due_at - now())::float8, extract(epoch FROM now() - k.begun_at)::float8
"""
# What an earlier attempt than the retry by hand has ended. $6: also what is in doubt.
_REOPEN = f"""
UPDATE mail.recipients SET state = 'queued', attempt = $4, tries = 0, due_at = now(), updated_at = now(),
  doubts = doubts + (state IN ('unknown', 'sending'))::int
WHERE letter = $1 AND number BETWEEN $2 AND $3 AND attempt <= $5
  AND (state IN ('bounced', 'suppressed') OR state = 'cancelled' AND starts_with(reply, '{TEMPLATE_FAILED}')
       OR $6 AND state IN ('unknown', 'sending'))
"""  # noqa: S608 - made of constants
# A recipient is withdrawn if the caller wanted it so: neither its template nor the time was to blame.
_COUNT = f"""
SELECT state, count(*), extract(epoch FROM min(due_at) - now())::float8,
  count(*) FILTER (WHERE state = 'cancelled'
    AND (starts_with(reply, '{TEMPLATE_FAILED}') OR reply = '{EXPIRED}') IS NOT TRUE)
FROM mail.recipients WHERE letter = $1 AND number BETWEEN $2 AND $3 GROUP BY state
"""  # noqa: S608
_CHARGE = """
UPDATE mail.letters SET composing_since = $2,
  composing_s = $3 + CASE WHEN composing_since IS NOT DISTINCT FROM $2 THEN composing_s ELSE 0 END
WHERE id = $1 RETURNING composing_s, (SELECT count(*) FROM mail.recipients WHERE letter = $1)
"""
_DELETE_ORPHANS = """
WITH next AS (
  SELECT id FROM mail.letters WHERE id > $1 AND created_at < now() - interval '1 hour' ORDER BY id LIMIT 50),
gone AS (
  DELETE FROM mail.letters WHERE id IN (
    SELECT id FROM next WHERE NOT EXISTS (SELECT FROM ledger.jobs j WHERE j.id = next.id)))
SELECT id FROM next ORDER BY id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A recipient claimed by this attempt.

    `variables`: the JSON as it was received; it is parsed only where the message is composed. `due_in_s` may be
    negative. `age_s`: seconds since the letter was stored, or retried by hand.
    """

    number: int
    state: State
    address: str
    name: str
    domain: str
    variables: str
    time_zone: str | None
    tries: int
    due_in_s: float
    age_s: float


class StateChange(NamedTuple):
    """A change of a recipient's state, written by the attempt that owns the row."""

    letter_id: UUID
    number: int
    attempt: int
    state: State
    code: int | None = None
    enhanced: str | None = None
    reply: str | None = None
    retry_in_s: float = 0.0
    possible_duplicates: int = 0
    at_recipient: bool = False
    """Whether the relay refused the recipient, not the sender or the content. Not stored."""


_CHANGES: Columns[StateChange] = Columns(
    letter=("uuid", lambda change: change.letter_id),
    number=("int", lambda change: change.number),
    attempt=("int", lambda change: change.attempt),
    state=("text", lambda change: change.state),
    code=("int", lambda change: change.code),
    enhanced=("text", lambda change: change.enhanced),
    reply=("text", lambda change: change.reply),
    retry_in_s=("float8", lambda change: change.retry_in_s),
    possible_duplicates=("int", lambda change: change.possible_duplicates),
)
_UPDATE_STATES = f"""
UPDATE mail.recipients r SET state = u.state, code = u.code, enhanced = u.enhanced, reply = u.reply,
  tries = r.tries + (u.state NOT IN ('sending', 'queued'))::int,
  doubts = r.doubts + u.possible_duplicates, updated_at = now(),
  due_at = CASE WHEN u.retry_in_s > 0 THEN now() + u.retry_in_s * interval '1 second' ELSE r.due_at END,
  sent_at = CASE WHEN u.state = 'sent' THEN now() END
FROM {_CHANGES.unnested("u")}
WHERE r.letter = u.letter AND r.number = u.number AND r.attempt = u.attempt
  AND (r.state IN ('queued', 'deferred', 'sending') OR r.state = u.state
       OR (r.state = 'unknown' AND u.state IN ('sent', 'bounced')))
RETURNING r.letter, r.number, r.attempt
"""  # noqa: S608 - made of constants


_NOTE_REFUSAL = """
UPDATE mail.recipients SET code = $5, enhanced = $6, reply = $7, updated_at = now()
WHERE letter = $1 AND number BETWEEN $2 AND $3 AND attempt = $4 AND state = 'queued' AND reply IS DISTINCT FROM $7
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Recipients by state, and the seconds until the first open one is due. None if none is open.

    `withdrawn`: those of the cancelled who were not to be written to any more.
    """

    by_state: dict[str, int]
    due_in_s: float | None
    withdrawn: int = 0

    @property
    def total(self) -> int:
        """All recipients."""
        return sum(self.by_state.values())

    @property
    def ended(self) -> int:
        """Recipients in a final state."""
        return self.total - sum(self.by_state.get(state, 0) for state in OPEN)

    @property
    def reached_nobody(self) -> bool:
        """Whether all have ended, and nobody has the letter who was to get it, not even perhaps."""
        reached = self.by_state.get(State.SENT, 0) + self.by_state.get(State.UNKNOWN, 0)
        return self.ended == self.total > self.withdrawn and not reached


class Spent(NamedTuple):
    """The seconds of CPU that composing a letter has used, and the number of its recipients."""

    seconds: float
    recipients: int


async def store(
    database: Database,
    letter_id: UUID,
    tenant: str,
    stored: StoredLetter,
    recipients: Sequence[AddressedRecipient],
    waits_s: Sequence[float],
) -> None:
    """Store a letter and its recipients. Idempotent. Raises Unavailable.

    `waits_s`: for each recipient, the seconds until the letter may be delivered.
    """
    rows = list(zip(range(len(recipients)), recipients, waits_s, strict=True))
    async with database.begin() as connection:
        if await insert_letter(connection, letter_id, tenant, stored):
            await fetch_within(connection, _INSERT_RECIPIENTS, letter_id, tenant, *_ENTERED.arrays(rows))


async def insert_letter(connection: Connection, letter_id: UUID, tenant: str, stored: StoredLetter) -> bool:
    """Insert a letter. Returns False if it was stored before."""
    content = stored.model_dump_json(by_alias=True)
    return bool(
        await fetch_within(connection, _INSERT_LETTER, letter_id, tenant, content, stored.letter.expire_after_s)
    )


async def load(database: Database, letter_id: UUID) -> StoredLetter:
    """Load a letter. Raises LetterGone, Unavailable."""
    rows = await database.fetch("SELECT content::text FROM mail.letters WHERE id = $1", letter_id)
    if not rows:
        raise LetterGone
    return StoredLetter.model_validate_json(rows[0][0])


async def claim(
    database: Database, letter_id: UUID, first: int, last: int, attempt: int, since: datetime | None = None
) -> list[Row]:
    """Claim the open recipients with numbers `first` to `last`. Raises Unavailable.

    `since`: the letter's last retry by hand; its age counts from then.

    Recipients that are suppressed, expired, or in doubt and not to be resent, get their final state instead.
    """
    rows = await database.fetch(_CLAIM, letter_id, first, last, attempt, since)
    claimed = [
        Row(number, State(state), address, name, domain, variables or "{}", *times)
        for number, state, address, name, domain, variables, *times in rows
    ]
    for row in claimed:
        if row.state not in OPEN:
            metrics.mail_recipients.labels(row.state.value).inc()
    return sorted((row for row in claimed if row.state in OPEN), key=lambda row: row.number)


async def count(database: Database, letter_id: UUID, first: int = 0, last: int = 2**31 - 1) -> Counts:
    """Count the recipients with numbers `first` to `last` by state. Raises Unavailable."""
    rows = await database.fetch(_COUNT, letter_id, first, last)
    due = [row[2] for row in rows if row[0] in OPEN]
    return Counts({row[0]: row[1] for row in rows}, min(due) if due else None, sum(row[3] for row in rows))


async def reopen(
    database: Database, letter_id: UUID, first: int, last: int, attempt: int, retried: Retried
) -> None:
    """Queue again those of the recipients `first` to `last` whom the letter had not reached by the retry by hand.

    They are bounced, suppressed, or have a template that failed; those in doubt too if the retry says so. Whoever
    is still suppressed gets that state again when it is claimed. Idempotent. Raises Unavailable.
    """
    await database.fetch(_REOPEN, letter_id, first, last, attempt, retried.after, retried.in_doubt)


async def charge(database: Database, letter_id: UUID, since: datetime | None, used_s: float) -> Spent:
    """Add seconds of composing to those used since the last retry by hand. Raises LetterGone, Unavailable."""
    rows = await database.fetch(_CHARGE, letter_id, since, used_s)
    if not rows:
        raise LetterGone
    return Spent(*rows[0])


async def note_refusal(
    database: Database, letter_id: UUID, first: int, last: int, attempt: int, refusal: Reply
) -> None:
    """Let the recipients with numbers `first` to `last` that are held show the refusal. Raises Unavailable."""
    text = stored_text(refusal)
    arguments = (letter_id, first, last, attempt, refusal.code, refusal.enhanced, text)
    await database.fetch(_NOTE_REFUSAL, *arguments)


def stored_text(reply: Reply) -> str:
    """Return the text of a reply as it is stored with recipients."""
    return storable(reply.text)[:500]


async def forget(database: Database) -> None:
    """Delete letters whose jobs no longer exist. Checks all letters, 50 at a time. Raises Unavailable."""
    last = [(UUID(int=0),)]
    while last:
        last = await database.fetch(_DELETE_ORPHANS, last[0][0], timeout_s=LONG_S)


class StateWriter:
    """Writes state changes in batches: changes handed in together are written in the same statement.

    Only one statement runs at a time. Two at once would each be half as large, and cost almost as much.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[StateChange, bool] = Batcher(self._write)
        self.write = self._batcher.__call__
        """Write one change. Returns False if the attempt has lost the row. Retries while PostgreSQL is down."""

    async def _write(self, changes: list[StateChange]) -> list[bool]:
        rows = await until_available(lambda: self._database.fetch(_UPDATE_STATES, *_CHANGES.arrays(changes)))
        taken = {tuple(row) for row in rows}
        for change in changes:
            if change.at_recipient and change.state is State.BOUNCED and is_hard(change.enhanced):
                await until_available(
                    partial(suppress_recipient, self._database, change.letter_id, change.number, "bounce")
                )
        for change in changes:
            if change.state is not State.SENDING and change[:3] in taken:
                metrics.mail_recipients.labels(change.state.value).inc()
        return [change[:3] in taken for change in changes]
