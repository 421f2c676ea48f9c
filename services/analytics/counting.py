"""Counts a batch of events exactly once, in one transaction with the end of its job.

An event counts when its row is inserted; one with the same id and day is there already and counts no more.
Whatever is counted follows from the rows that this transaction has inserted: first the rows, then rollups, then
sketches, each in the order of their keys, so that workers with the same events wait for each other, but never in
a circle.
"""

import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pydantic_core import from_json

from libs.common.contracts.analytics import EventsResult, Reason
from libs.common.db import Connection, fetch_within
from libs.common.unnest import Columns
from services.analytics import event_types, locks, partitions, rollups, sketches
from services.analytics.event_types import EventType
from services.analytics.incoming import LATE_AFTER, Event, Refused
from services.analytics.rollups import Cell

EVENTS: Columns[Event] = Columns(
    id=("text", lambda event: event.id),
    day=("date", lambda event: event.day),
    name=("text", lambda event: event.name),
    at=("timestamptz", lambda event: event.at),
    subject=("text", lambda event: event.subject),
    properties=("text", lambda event: event.properties),
)
"""The columns of a row that are the event's own."""
# With the type of each: it cannot change before the transaction ends.
_COUNT = f"""
WITH e AS (
  INSERT INTO analytics.events (tenant, id, day, name, at, subject, properties, received_at)
  SELECT $1, id, day, name, at, subject, properties::jsonb, $2 FROM {EVENTS.unnested("new", first=3)}
  ON CONFLICT DO NOTHING
  RETURNING id, day, name, at, properties),
{rollups.CELLS}
SELECT (SELECT array_agg(id) FROM e), (SELECT array_agg(day) FROM e), {rollups.CELLS_AS_COLUMNS} FROM cells
"""  # noqa: S608 - made of constants
_CONFLICTS = f"""
SELECT count(*) FROM {EVENTS.unnested("again", first=2)} JOIN analytics.events e USING (id, day)
WHERE e.tenant = $1 AND (e.name, e.at, e.subject, e.properties)
  IS DISTINCT FROM (again.name, again.at, again.subject, again.properties::jsonb)
"""  # noqa: S608
_ANY_ERASED = "SELECT 1 FROM analytics.erased WHERE tenant = $1 LIMIT 1"
_ERASED = "SELECT subject_hash, before FROM analytics.erased WHERE tenant = $1 AND subject_hash = ANY($2::bytea[])"

Key = tuple[str, date]
"""The id and the day of an event."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The events of a batch by what `types` say of them."""

    types: Mapping[str, EventType]
    events: Sequence[Event]
    refused: Sequence[Refused]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch."""

    result: EventsResult
    refused: Sequence[Refused]


class SubjectHashes:
    """Recognises erased subjects without knowing them: their hash needs a key that is not in the database."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()

    def of(self, tenant: str, subject: str) -> bytes:
        """The hash of a tenant's subject."""
        return hmac.digest(
            self._key, b"%d:%s:%s" % (len(tenant), tenant.encode(), subject.encode()), hashlib.sha256
        )


def check(read: Sequence[Event | Refused], types: Mapping[str, EventType]) -> Checked:
    """Sort out which events fit their types. It takes a while where there are schemas."""
    events, refused = list[Event](), list[Refused]()
    for one in read:
        if isinstance(one, Refused):
            refused.append(one)
            continue
        type_ = types.get(one.name)
        wrong = (
            None if type_ is None or type_.schema is None else event_types.violation(type_.schema, one.properties)
        )
        if wrong is None:
            events.append(one)
        else:
            refused.append(Refused(one.sent, Reason.SCHEMA_VIOLATED, wrong))
    return Checked(types, events, refused)


def names_of(read: Sequence[Event | Refused]) -> list[str]:
    """The names of the events among `read`."""
    return sorted({one.name for one in read if isinstance(one, Event)})


async def count(
    connection: Connection,
    tenant: str,
    read: Sequence[Event | Refused],
    checked: Checked,
    received_at: datetime,
    hashes: SubjectHashes,
) -> Outcome:
    """Count what `checked` says of `read`, in a transaction that works as `tenant`.

    Raises Unavailable if events of the tenant are being recounted or erased.
    """
    await locks.share(connection, tenant, {event.day for event in checked.events})
    types = await event_types.known_within(connection, tenant, names_of(read))
    if types != checked.types:  # they have changed since
        checked = check(read, types)
    events, refused = await _countable(connection, tenant, checked, hashes)
    refused = [*checked.refused, *refused]
    first = dict[Key, Event]()
    for event in events:
        first.setdefault(event.key, event)
    result = EventsResult(rejected=len(refused), reasons=dict(Counter(one.reason.value for one in refused)))
    if first:
        fresh, cells = await _insert(connection, tenant, first, received_at)
        await rollups.add(connection, tenant, cells)
        await _add_subjects(connection, tenant, fresh)
        result.counted, result.duplicates = len(fresh), len(events) - len(fresh)
        result.late = sum(event.at < received_at - LATE_AFTER for event in fresh.values())
        if result.duplicates:
            result.conflicts = await _conflicts(connection, tenant, events, first, fresh)
    return Outcome(result, refused)


async def _countable(
    connection: Connection, tenant: str, checked: Checked, hashes: SubjectHashes
) -> tuple[list[Event], list[Refused]]:
    """Those whose subject is not erased, and whose day is still kept."""
    months = await partitions.months_within(connection)
    too_old = {day for day in {event.day for event in checked.events} if partitions.month_of(day) not in months}
    erased = await _erased(connection, tenant, checked.events, hashes)
    events, refused = list[Event](), list[Refused]()
    for event in checked.events:
        before = None if event.subject is None else erased.get(event.subject)
        if before is not None and event.at <= before:
            refused.append(Refused(event.sent, Reason.ERASED))
        elif event.day in too_old:
            refused.append(Refused(event.sent, Reason.TOO_OLD))
        else:
            events.append(event)
    return events, refused


async def _erased(
    connection: Connection, tenant: str, events: Sequence[Event], hashes: SubjectHashes
) -> dict[str, datetime]:
    """The erased ones among the subjects of `events`, and up to when their events stay out."""
    if not await fetch_within(connection, _ANY_ERASED, tenant):  # most tenants have none: hashes take a while
        return {}
    subject_of = {
        hashes.of(tenant, subject): subject
        for subject in {event.subject for event in events}
        if subject is not None
    }
    rows = await fetch_within(connection, _ERASED, tenant, list(subject_of))
    return {subject_of[hash_]: before for hash_, before in rows}


async def _insert(
    connection: Connection, tenant: str, first: Mapping[Key, Event], received_at: datetime
) -> tuple[dict[Key, Event], list[Cell]]:
    """Insert the events that are not there yet, and return them. Those that are remain as they are."""
    in_order = [first[key] for key in sorted(first)]
    ((ids, days, *columns),) = await fetch_within(
        connection, _COUNT, tenant, received_at, *EVENTS.arrays(in_order)
    )
    return {key: first[key] for key in zip(ids or (), days or (), strict=True)}, rollups.cells_of(columns)


async def _add_subjects(connection: Connection, tenant: str, fresh: Mapping[Key, Event]) -> None:
    subjects: defaultdict[sketches.Key, set[str]] = defaultdict(set)
    for event in fresh.values():
        if event.subject is not None:
            subjects[event.name, event.day].add(event.subject)
    await sketches.add(connection, tenant, subjects)


async def _conflicts(
    connection: Connection,
    tenant: str,
    events: Sequence[Event],
    first: Mapping[Key, Event],
    fresh: Mapping[Key, Event],
) -> int:
    """How many duplicates have another content than the event that counts."""
    repeated = [event for event in events if event is not first[event.key] or event.key not in fresh]
    within = sum(_differ(event, first[event.key]) for event in repeated if event.key in fresh)
    others = [event for event in repeated if event.key not in fresh]
    if not others:
        return within
    ((before,),) = await fetch_within(connection, _CONFLICTS, tenant, *EVENTS.arrays(others))
    return within + int(before)


def _differ(one: Event, other: Event) -> bool:
    if one == other:
        return False
    described = [(event.name, event.at, event.subject, from_json(event.properties)) for event in (one, other)]
    return described[0] != described[1]
