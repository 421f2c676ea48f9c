"""Letters and their recipients, in PostgreSQL: who is still to be written to, and what became of the others.

A recipient's row carries the attempt of the job that has it. Whoever writes to it names that attempt, so a worker
that has lost its job can change nothing, and, since it must say so before it sends, send nothing either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import NamedTuple
from uuid import UUID

from pydantic_core import to_json

from libs.common import metrics
from libs.common.backoff import until_available
from libs.common.batching import Batcher
from libs.common.contracts.mail import AddressedRecipient, StoredLetter
from libs.common.db import Connection, Database, fetch_within
from libs.common.unnest import Columns
from services.mailer.refusals import LetterGone
from services.mailer.suppressions import is_hard, suppress_recipient


class State(StrEnum):
    """Where a recipient stands. The first three are not the end."""

    QUEUED = "queued"
    DEFERRED = "deferred"
    SENDING = "sending"
    SENT = "sent"
    BOUNCED = "bounced"
    SUPPRESSED = "suppressed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


OPEN = (State.QUEUED, State.DEFERRED, State.SENDING)

_KEEP = """
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
_ENTER = f"""
INSERT INTO mail.recipients
  (letter, number, tenant, address, name, domain, variables, time_zone, due_at, state)
SELECT $1, u.number, $2, u.address, u.name, u.domain, u.variables::json, u.time_zone,
  now() + u.in_s * interval '1 second',
  CASE WHEN s.address IS NULL THEN 'queued' ELSE 'suppressed' END
FROM {_ENTERED.unnested("u", first=3)}
LEFT JOIN mail.suppressions s ON s.tenant = $2 AND s.address = lower(u.address)
  AND (s.expires_at IS NULL OR s.expires_at > now())
"""  # noqa: S608 - made of constants
# What another attempt had announced and not reported may have been sent: that is all there is to know.
_CLAIM = """
WITH known AS (
  SELECT r.letter, r.number, r.state AS was, l.content #>> '{letter,on_unknown}' = 'resend' AS again,
    s.address IS NOT NULL AS suppressed, coalesce(l.expires_at < now(), false) AS expired,
    l.created_at AS entered_at
  FROM mail.recipients r JOIN mail.letters l ON l.id = r.letter
  LEFT JOIN mail.suppressions s ON s.tenant = r.tenant AND s.address = lower(r.address)
    AND (s.expires_at IS NULL OR s.expires_at > now())
  WHERE r.letter = $1 AND r.number BETWEEN $2 AND $3 AND r.state IN ('queued', 'deferred', 'sending')
  FOR UPDATE OF r)
UPDATE mail.recipients r SET
  state = CASE WHEN k.was = 'sending' AND NOT k.again THEN 'unknown'
               WHEN k.suppressed THEN 'suppressed' WHEN k.expired THEN 'cancelled'
               WHEN k.was = 'sending' THEN 'queued' ELSE k.was END,
  reply = CASE WHEN k.was = 'sending' THEN 'the worker died before it could tell'
               WHEN k.expired AND NOT k.suppressed THEN 'expired' ELSE r.reply END,
  attempt = CASE WHEN k.was = 'sending' AND NOT k.again THEN r.attempt ELSE $4 END,
  doubts = r.doubts + (k.was = 'sending' AND k.again)::int,
  updated_at = now()
FROM known k WHERE r.letter = k.letter AND r.number = k.number
RETURNING r.number, r.state, r.address, r.name, r.domain, r.variables::text, r.time_zone, r.tries,
  extract(epoch FROM r.due_at - now())::float8, extract(epoch FROM now() - k.entered_at)::float8
"""
_COUNT = """
SELECT state, count(*), extract(epoch FROM min(due_at) - now())::float8 FROM mail.recipients
WHERE letter = $1 AND number BETWEEN $2 AND $3 GROUP BY state
"""
_FORGET = """
WITH next AS (
  SELECT id FROM mail.letters WHERE id > $1 AND created_at < now() - interval '1 hour' ORDER BY id LIMIT 50),
gone AS (
  DELETE FROM mail.letters WHERE id IN (
    SELECT id FROM next WHERE NOT EXISTS (SELECT FROM ledger.jobs j WHERE j.id = next.id)))
SELECT id FROM next ORDER BY id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A recipient of this attempt. `variables`: in JSON, as they were written: they are read where templates run.

    `due_in_s` may be below 0; `age_s`: since the letter was entered.
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
    """What is written about a recipient, by the attempt that has it."""

    letter: UUID
    number: int
    attempt: int
    state: State
    code: int | None = None
    enhanced: str | None = None
    reply: str | None = None
    retry_in_s: float = 0.0
    possible_duplicates: int = 0
    at_recipient: bool = False
    """Whether it was the recipient that was refused, not the sender or the text."""


_CHANGES: Columns[StateChange] = Columns(
    letter="uuid",
    number="int",
    attempt="int",
    state="text",
    code="int",
    enhanced="text",
    reply="text",
    retry_in_s="float8",
    possible_duplicates="int",
)
_CHANGE = f"""
UPDATE mail.recipients r SET state = u.state, code = u.code, enhanced = u.enhanced, reply = u.reply,
  tries = r.tries + (u.state <> 'sending')::int, doubts = r.doubts + u.possible_duplicates, updated_at = now(),
  due_at = CASE WHEN u.retry_in_s > 0 THEN now() + u.retry_in_s * interval '1 second' ELSE r.due_at END,
  sent_at = CASE WHEN u.state = 'sent' THEN now() END
FROM {_CHANGES.unnested("u")}
WHERE r.letter = u.letter AND r.number = u.number AND r.attempt = u.attempt
  AND (r.state IN ('queued', 'deferred', 'sending') OR r.state = u.state
       OR (r.state = 'unknown' AND u.state IN ('sent', 'bounced')))
RETURNING r.letter, r.number, r.attempt
"""  # noqa: S608 - made of constants


@dataclass(frozen=True, slots=True)
class Counts:
    """Recipients by state, and seconds until the first of those still open is due; None if none is."""

    by_state: dict[str, int]
    due_in_s: float | None

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_state.values())

    @property
    def ended(self) -> int:
        """Those whose state will not change any more."""
        return self.total - sum(self.by_state.get(state, 0) for state in OPEN)


async def enter(
    database: Database,
    letter: UUID,
    tenant: str,
    head: StoredLetter,
    recipients: Sequence[AddressedRecipient],
    waits_s: Sequence[float],
) -> None:
    """Keep a letter and its recipients; again is the same as once. Raises Unavailable.

    `waits_s`: seconds until each of them may be written to.
    """
    rows = list(zip(range(len(recipients)), recipients, waits_s, strict=True))
    async with database.begin() as connection:
        if await keep(connection, letter, tenant, head):
            await fetch_within(connection, _ENTER, letter, tenant, *_ENTERED.arrays(rows))


async def keep(connection: Connection, letter: UUID, tenant: str, head: StoredLetter) -> bool:
    """Whether it was not there before."""
    content = head.model_dump_json(by_alias=True)
    return bool(await fetch_within(connection, _KEEP, letter, tenant, content, head.letter.expire_after_s))


async def load(database: Database, letter: UUID) -> StoredLetter:
    """What is sent. Raises LetterGone, Unavailable."""
    rows = await database.fetch("SELECT content::text FROM mail.letters WHERE id = $1", letter)
    if not rows:
        raise LetterGone
    return StoredLetter.model_validate_json(rows[0][0])


async def claim(database: Database, letter: UUID, first: int, last: int, attempt: int) -> list[Row]:
    """Take the recipients that are still open. Those that turn out not to be are settled. Raises Unavailable."""
    rows = await database.fetch(_CLAIM, letter, first, last, attempt)
    found = [
        Row(number, State(state), address, name, domain, variables or "{}", *times)
        for number, state, address, name, domain, variables, *times in rows
    ]
    for row in found:
        if row.state not in OPEN:
            metrics.mail_recipients.labels(row.state.value).inc()
    return sorted((row for row in found if row.state in OPEN), key=lambda row: row.number)


async def count(database: Database, letter: UUID, first: int = 0, last: int = 2**31 - 1) -> Counts:
    """How the recipients stand. Raises Unavailable."""
    rows = await database.fetch(_COUNT, letter, first, last)
    due = [row[2] for row in rows if row[0] in OPEN]
    return Counts({row[0]: row[1] for row in rows}, min(due) if due else None)


async def forget(database: Database) -> None:
    """Letters whose jobs are gone go too: all are looked at, some at a time. Raises Unavailable."""
    looked_at = [(UUID(int=0),)]
    while looked_at:
        looked_at = await database.fetch(_FORGET, looked_at[0][0])


class StateWriter:
    """Writes what becomes of recipients, many at a time; what is handed in at once is written at once.

    One statement at a time: two would each be half as large, and cost almost as much.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing: Batcher[StateChange, bool] = Batcher(self._write)
        self.write = self._writing.__call__
        """Write one mark; whether the row was still this attempt's. Waits for PostgreSQL as long as it takes."""

    async def _write(self, states: list[StateChange]) -> list[bool]:
        rows = await until_available(lambda: self._database.fetch(_CHANGE, *_CHANGES.arrays(states)))
        taken = {tuple(row) for row in rows}
        for mark in states:
            if mark.at_recipient and mark.state is State.BOUNCED and is_hard(mark.enhanced):
                await until_available(
                    partial(suppress_recipient, self._database, mark.letter, mark.number, "bounce")
                )
        for mark in states:
            if mark.state is not State.SENDING and mark[:3] in taken:
                metrics.mail_recipients.labels(mark.state.value).inc()
        return [mark[:3] in taken for mark in states]
