"""Writes what a page lists: digests are asked for first, and only what is new or has changed is sent.

So a page that is as it was writes nothing, not even locks. Counters grow in the transaction of the rows that they
count.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from libs.common.contracts.moments import written
from libs.common.contracts.sync import RunResult
from libs.common.db import Connection, Database, fetch_within
from libs.common.ledger.jobs import new_id
from libs.common.unnest import Columns
from services.sync.page import Record, Refused

FIELDS = (
    *("title", "summary", "url", "agency", "opens_at", "closes_at", "closes_on", "status_said"),
    *("amount_min", "amount_max", "currency", "extra"),
)
"""Of an opportunity: a change of one of them is told in its history."""
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Row:
    """An opportunity as it is to be written."""

    id: UUID
    record: Record
    digest: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What has become of an opportunity. `fields`: the old and the new value by name."""

    opportunity: UUID
    what: str
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """Lines of a page: the last one of each key, and those that do not pass."""

    lines: dict[str, bytes] = field(default_factory=dict)
    parsed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The record in each of `lines`, not validated yet."""
    refused: list[Refused] = field(default_factory=list)
    repeated: int = 0
    newest: str | None = None
    """The newest `changed` of its records."""

    @property
    def records(self) -> int:
        """How many records there were."""
        return len(self.lines) + len(self.refused) + self.repeated


def batch_of(lines: Iterable[bytes]) -> Batch:
    """Tell the lines of a page apart."""
    batch = Batch()
    for line in lines:
        document = from_json(line)
        if (record := document.get("record")) is None:
            batch.refused.append(Refused.model_validate(document["refused"]))
            continue
        key = record["key"]
        batch.repeated += key in batch.lines
        batch.lines[key], batch.parsed[key] = line, record
        batch.newest = newest(batch.newest, record.get("changed"))
    return batch


def newest(one: str | None, other: str | None) -> str | None:
    """The later of two values of `incremental.field`: numbers by size, everything else as text."""
    if one is None or other is None:
        return one if other is None else other
    try:
        return max(one, other, key=float)
    except ValueError:
        return max(one, other)


def digest_of(line: bytes, language: str) -> bytes:
    """The digest of a line. Nothing is read of a record whose digest is known."""
    return blake2b(line, digest_size=_DIGEST_BYTES, person=language.encode()[:16]).digest()


UPSERTED: Columns[Row] = Columns(
    id=("uuid", lambda row: row.id),
    key=("text", lambda row: row.record.key),
    title=("text", lambda row: row.record.title),
    summary=("text", lambda row: row.record.summary),
    url=("text", lambda row: row.record.url),
    agency=("text", lambda row: row.record.agency),
    opens_at=("timestamptz", lambda row: row.record.opens_at),
    closes_at=("timestamptz", lambda row: row.record.closes_at),
    closes_on=("date", lambda row: _day(row.record.closes_on)),
    status_said=("text", lambda row: row.record.status_said),
    amount_min=("numeric", lambda row: row.record.amount_min),
    amount_max=("numeric", lambda row: row.record.amount_max),
    currency=("text", lambda row: row.record.currency),
    extra=("text", lambda row: to_json(row.record.extra).decode()),
    raw=("text", lambda row: to_json(row.record.raw).decode()),
    digest=("bytea", lambda row: row.digest),
)
_ASSIGNED = ", ".join(f"{name} = excluded.{name}" for name in (*FIELDS, "raw", "digest", "language", "last_run"))
_VALUES = UPSERTED.names.replace("extra,", "extra::jsonb,").replace("raw,", "raw::jsonb,")
INSERT = f"""
INSERT INTO sync.opportunities AS o (tenant, source, first_run, last_run, language, {UPSERTED.names})
SELECT $1, $2, $3, $3, $4::text::regconfig, {_VALUES} FROM {UPSERTED.unnested("t", first=5)}
"""  # noqa: S608 - made of constants
UPSERT = f"""
{INSERT} ON CONFLICT (tenant, source, key) DO UPDATE SET {_ASSIGNED},
  gone_at = NULL, revision = o.revision + 1, changed_by = pg_current_xact_id(), changed_at = now()
"""
# What was received is kept for mapping it anew; the opportunity itself has not changed.
_KEEP_RAW = """
UPDATE sync.opportunities o SET raw = t.raw::jsonb, digest = t.digest
FROM unnest($3::text[], $4::text[], $5::bytea[]) AS t (key, raw, digest)
WHERE o.tenant = $1 AND o.source = $2 AND o.key = t.key
"""
_DIGESTS = """
SELECT key, CASE WHEN gone_at IS NULL THEN digest END FROM sync.opportunities
WHERE tenant = $1 AND source = $2 AND key = ANY($3)
"""
_OLD = f"""
SELECT key, id, gone_at, language::text, {", ".join(FIELDS)} FROM sync.opportunities
WHERE tenant = $1 AND source = $2 AND key = ANY($3) ORDER BY key FOR UPDATE
"""  # noqa: S608 - made of constants
_NOW = _OLD.replace("FOR UPDATE", "")
_TELL = """
INSERT INTO sync.changes (tenant, run, number, opportunity, what, fields)
SELECT $1, $2, number + $6 - 1, opportunity, what, fields::jsonb
FROM unnest($3::uuid[], $4::text[], $5::text[]) WITH ORDINALITY AS t (opportunity, what, fields, number)
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a page is written: the source of a tenant, by a run."""

    tenant: str
    source: UUID
    run: UUID
    language: str


async def write(connection: Connection, target: Target, batch: Batch, result: RunResult) -> list[Change]:
    """Write the records of a batch, count them in `result`, and return what has changed, as it is told."""
    where = (target.tenant, target.source)
    known = dict(await fetch_within(connection, _DIGESTS, *where, list(batch.lines)))
    digests = {key: digest_of(line, target.language) for key, line in batch.lines.items()}
    different = sorted(key for key, digest in digests.items() if known.get(key) != digest)
    result.unchanged += len(batch.lines) - len(different)
    if not different:
        return []
    # Whoever writes has locked the source, so nobody else adds what is not there.
    there = [key for key in different if key in known]
    old = {row[0]: row for row in await fetch_within(connection, _OLD, *where, there)} if there else {}
    inserts, upserts = list[Row](), list[Row]()
    raws, changes = [], []
    for key in different:
        record = Record.model_validate(batch.parsed[key])
        change = _change_of(record, old.get(key), target.language)
        if change is None:
            raws.append((key, to_json(record.raw).decode(), digests[key]))
        else:
            row = Row(change.opportunity, record, digests[key])
            (upserts if key in old else inserts).append(row)
            changes.append(change)
    await _put(connection, target, INSERT, inserts)
    await _put(connection, target, UPSERT, upserts)
    if raws:
        await fetch_within(connection, _KEEP_RAW, *where, *(list(column) for column in zip(*raws, strict=True)))
    await tell(connection, target, changes)
    _count(result, changes, len(raws))
    return changes


async def compare(
    database: Database, tenant: str, source: UUID, language: str, lines: dict[str, bytes]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """What writing lines would do, by key: what each would be, and the fields that would change."""
    old = {row[0]: row for row in await database.fetch(_NOW, tenant, source, list(lines), tenant=tenant)}
    found = {}
    for key, line in lines.items():
        change = _change_of(Record.model_validate(from_json(line)["record"]), old.get(key), language)
        found[key] = (change.what, _told(change.fields)) if change else ("unchanged", {})
    return found


def _change_of(record: Record, old: Sequence[Any] | None, language: str) -> Change | None:
    """How a record differs from what is written; None: only in what was received."""
    if old is None:
        return Change(new_id(), "inserted")
    _, id_, gone_at, old_language, *values = old
    fields = {
        name: (before, after)
        for name, before, after in zip(FIELDS, values, _values(record), strict=True)
        if before != after
    }
    if gone_at is not None:
        return Change(id_, "returned", fields)
    return Change(id_, "updated", fields) if fields or old_language != language else None


def _values(record: Record) -> list[Any]:
    """The values of FIELDS, as the database gives them back."""
    values = {name: getattr(record, name) for name in FIELDS}
    values["closes_on"] = _day(record.closes_on)
    values["extra"] = from_json(to_json(record.extra))
    return list(values.values())


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


async def _put(connection: Connection, target: Target, statement: str, rows: Sequence[Row]) -> None:
    if rows:
        where = (target.tenant, target.source, target.run, target.language)
        await fetch_within(connection, statement, *where, *UPSERTED.arrays(rows))


async def tell(connection: Connection, target: Target, changes: Sequence[Change], *, first: int = 1) -> None:
    """Write down changes. They are numbered within the transaction, from `first`."""
    if changes:
        await fetch_within(
            connection,
            _TELL,
            target.tenant,
            target.run,
            [change.opportunity for change in changes],
            [change.what for change in changes],
            [to_json(_told(change.fields)).decode() for change in changes],
            first,
        )


def _told(fields: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    return {name: (_shown(before), _shown(after)) for name, (before, after) in fields.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return written(value)
    return value.isoformat() if isinstance(value, date) else value


def _count(result: RunResult, changes: Iterable[Change], raws: int) -> None:
    result.unchanged += raws
    for change in changes:
        setattr(result, change.what, getattr(result, change.what) + 1)
