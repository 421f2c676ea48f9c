"""Schedules for recurring jobs: a cron expression, a time zone, and what to do about missed fire times.

The id of a job is derived from the schedule and the fire time, so several dispatchers that fire it create one job.
Daylight saving time is handled as cron does it: a fixed time in the skipped hour runs once, right after that hour;
one in the repeated hour runs once. https://manpages.debian.org/bookworm/cron/cron.8.en.html
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice, takewhile
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from cronsim import CronSim, CronSimError

from libs.common import log, tracing
from libs.common.db import PROMPT_S, Database, fetch_within
from libs.common.errors import ArgosyError
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, Priority
from libs.common.ledger.making import Once, making, remember
from libs.common.tracing import Kind, Place, Span
from libs.common.unnest import Columns

logger = log.get("schedules")

FLEET_TENANT = "argosy"
"""The tenant of the schedules that serve the whole fleet, and of their jobs. Migrations make them
(`provisioning.fleet_schedule`). No tenant of the API can have this name, so no caller sees or changes them."""

MISSED_AFTER = timedelta(seconds=30)
"""A fire time counts as missed when it is more than this in the past."""
OVERDUE_AFTER_S = 60.0
"""The dispatchers of gateways that live create a run long before this."""
DUE_AT_A_TIME = 50
ROUNDS_AT_MOST = 10
"""Schedules that are read together, and how often in one call of `fire`. A payload has up to 256 KB."""
CREATED_AT_A_TIME = 1_000
CREATED_BYTES = 4 * 1024 * 1024
"""Jobs that are created together: no more when their payloads have so many bytes."""
SCHEDULES_AT_MOST = 1_000
"""The maximum for one tenant."""
CATCH_UP_AT_MOST = 100
"""The most missed runs that one round creates or counts. Further runs to catch up on follow in the next round."""


class CatchUp(StrEnum):
    """What to do about fire times that were missed while the system was down: skip them, run one, or run all."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"


class BadCron(ArgosyError):
    """The cron expression is not valid."""


class NameTaken(ArgosyError):
    """Another schedule has this name."""


class TooManySchedules(ArgosyError):
    """The tenant may not have more schedules."""


def fire_times(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """The fire times after `after`, in UTC. They are endless unless the expression has an end. Raises BadCron."""
    return _times(cron, timezone, after)


_FIELDS = (
    "a minute (0 to 59)",
    "an hour (0 to 23)",
    "a day of the month (1 to 31, or L for the last)",
    "a month (1 to 12, or JAN to DEC)",
    "a day of the week (0 to 7, or SUN to SAT)",
)


def _what_is_wrong(cron: str) -> str:
    """Which of the five fields cannot be read by itself, and what it may be."""
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        return "Five fields are needed: minute, hour, day of month, month and day of week."
    for number, field in enumerate(fields):
        try:
            CronSim(" ".join(field if at == number else "*" for at in range(len(fields))), datetime.now(UTC))
        except CronSimError:
            many = "Lists (1,15), ranges (1-5) and steps (*/10) are possible."
            return f"`{field}` is not {_FIELDS[number]}. {many}"
    return "No such day is in any of these months."


def _times(cron: str, timezone: str, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    try:
        times = CronSim(cron, start.astimezone(ZoneInfo(timezone)), reverse)
    except CronSimError as error:
        raise BadCron(_what_is_wrong(cron)) from error
    return (moment.astimezone(UTC) for moment in times)


@dataclass(frozen=True, slots=True)
class Due:
    """What is due of a schedule: runs to create, how many fire times are skipped, and the next time to check."""

    fires: tuple[datetime, ...]
    missed: int
    next_at: datetime | None


def owed(cron: str, timezone: str, catch_up: CatchUp, next_at: datetime, now: datetime) -> Due:
    """What is due of a schedule whose first unhandled fire time is `next_at`, which is not later than `now`."""
    since_then = fire_times(cron, timezone, next_at - timedelta(seconds=1))
    past = list(islice(takewhile(lambda moment: moment <= now, since_then), CATCH_UP_AT_MOST))
    upcoming = next(fire_times(cron, timezone, now), None)
    if not past:
        return Due((), 0, upcoming)
    if catch_up is CatchUp.ALL:
        more = next(fire_times(cron, timezone, past[-1]), None)
        return Due(tuple(past), 0, more)
    latest = past[-1]
    if len(past) == CATCH_UP_AT_MOST:  # there may be many more: find the last one by searching backwards
        latest = next(_times(cron, timezone, now + timedelta(seconds=1), reverse=True))
    fires = latest if catch_up is CatchUp.ONE or now - latest <= MISSED_AFTER else None
    return Due((fires,) if fires else (), len(past) - (fires is not None), upcoming)


def run_id(schedule: UUID, moment: datetime) -> UUID:
    """The id of the job for one fire time: a UUIDv7 of that time, whose random bits hash schedule and time."""
    milliseconds = int(moment.timestamp() * 1000)
    digest = hashlib.sha256(schedule.bytes + milliseconds.to_bytes(8, "big")).digest()[:10]
    number = int.from_bytes(milliseconds.to_bytes(6, "big") + digest, "big")
    number = number & ~(0xF << 76) | (7 << 76)
    return UUID(int=number & ~(0x3 << 62) | (0x2 << 62))


LISTED = """id, name, queue, kind, fields, cron, timezone, catch_up, created_at, paused_at, next_at,
  last_at, missed"""
FACTS = f"{LISTED}, payload"
"""Payloads are left out of lists: a page of them may have 25 MB."""
_COUNT = "SELECT count(*) FROM ledger.schedules WHERE tenant = $1"
_CREATE = f"""
INSERT INTO ledger.schedules
  (id, tenant, created_by, name, queue, kind, payload, fields, cron, timezone, catch_up, next_at)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9, $10, $11, $12)
ON CONFLICT DO NOTHING RETURNING {FACTS}
"""  # noqa: S608
_CHANGE = f"""
UPDATE ledger.schedules SET cron = $3, timezone = $4, catch_up = $5,
  next_at = CASE WHEN cron = $3 AND timezone = $4 AND paused_at IS NULL THEN next_at ELSE $6 END,
  paused_at = CASE WHEN $7 THEN coalesce(paused_at, now()) END
WHERE tenant = $1 AND id = $2 RETURNING {FACTS}
"""  # noqa: S608


async def create(
    db: Database,
    tenant: str,
    created_by: str,
    *,
    schedule: UUID,
    name: str,
    queue: str,
    kind: str,
    payload: bytes,
    fields: dict[str, Any],
    cron: str,
    timezone: str,
    catch_up: CatchUp,
    once: Once | None = None,
) -> dict[str, Any]:
    """Create a schedule and return its FACTS.

    Raises BadCron, NameTaken, TooManySchedules, Unavailable, and of a repeated request MadeBefore, OtherRequest.
    """
    next_at = next(fire_times(cron, timezone, datetime.now(UTC)), None)
    async with making(db, tenant, "schedules", once) as connection:
        ((number,),) = await fetch_within(connection, _COUNT, tenant)
        if number >= SCHEDULES_AT_MOST:
            raise TooManySchedules(f"There are {SCHEDULES_AT_MOST} schedules already.")
        rows = await fetch_within(
            connection, _CREATE, schedule, tenant, created_by, name, queue, kind, payload.decode(),
            orjson.dumps(fields).decode(), cron, timezone, catch_up, next_at,
        )  # fmt: skip
        if not rows:
            raise NameTaken
        await remember(connection, tenant, once, schedule.hex)
    return dict(rows[0]._mapping)


async def change(
    db: Database, tenant: str, schedule: UUID, *, cron: str, timezone: str, catch_up: CatchUp, paused: bool
) -> dict[str, Any] | None:
    """Change a schedule and return its FACTS, or None if it does not exist.

    After a change of the times or the end of a pause, fire times count from now. Raises BadCron, Unavailable.
    """
    next_at = next(fire_times(cron, timezone, datetime.now(UTC)), None)
    rows = await db.fetch(_CHANGE, tenant, schedule, cron, timezone, catch_up, next_at, paused, tenant=tenant)
    return dict(rows[0]) if rows else None


_PAGE = f"""
SELECT {LISTED} FROM ledger.schedules WHERE tenant = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3
"""  # noqa: S608


async def page(db: Database, tenant: str, *, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` schedules of a tenant as LISTED, oldest first, behind `after`. Raises Unavailable."""
    return [dict(row) for row in await db.fetch(_PAGE, tenant, after, limit, tenant=tenant)]


async def find(db: Database, tenant: str, schedule: UUID) -> dict[str, Any] | None:
    """The FACTS of one schedule, or None. Raises Unavailable."""
    sql = f"SELECT {FACTS} FROM ledger.schedules WHERE tenant = $1 AND id = $2"  # noqa: S608
    rows = await db.fetch(sql, tenant, schedule, tenant=tenant)
    return dict(rows[0]) if rows else None


async def named(db: Database, tenant: str, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Those of `ids` that a tenant has, as LISTED. Raises Unavailable."""
    sql = f"SELECT {LISTED} FROM ledger.schedules WHERE tenant = $1 AND id = ANY($2::uuid[])"  # noqa: S608
    return {row["id"]: dict(row) for row in await db.fetch(sql, tenant, ids, tenant=tenant)}


async def delete(db: Database, tenant: str, schedule: UUID) -> bool:
    """Delete a schedule and keep the jobs it has created. False if it does not exist. Raises Unavailable."""
    sql = "DELETE FROM ledger.schedules WHERE tenant = $1 AND id = $2 RETURNING id"
    return bool(await db.fetch(sql, tenant, schedule, tenant=tenant))


def job_of(
    facts: Mapping[str, Any], payload: bytes, tenant: str, created_by: str, job_id: UUID, trace: str | None = None
) -> NewJob:
    """A job of the schedule with these facts, as LISTED. `payload` is JSON text."""
    fields = facts["fields"]
    return NewJob(
        tenant,
        created_by,
        facts["queue"],
        facts["kind"],
        payload,
        id=job_id,
        priority=Priority(fields["priority"]),
        max_attempts=fields["max_attempts"],
        timeout_s=fields["timeout_s"],
        tags=tuple(fields["tags"]),
        unique_key=fields["unique_for"],
        schedule=facts["id"],
        trace=trace,
    )


# Payloads stay text: the round runs on an event loop, where parsing and writing them would hold up requests.
_DUE = f"""
SELECT {LISTED}, payload::text AS payload, tenant, created_by, now() AS now FROM ledger.schedules
WHERE paused_at IS NULL AND next_at <= now() ORDER BY next_at LIMIT {DUE_AT_A_TIME}
"""  # noqa: S608
_OVERDUE = """
SELECT count(*) FROM ledger.schedules WHERE paused_at IS NULL AND next_at < now() - $1 * interval '1 second'
"""
_MOVED_ON: Columns[tuple[Any, Due]] = Columns(
    id=("uuid", lambda moved: moved[0]["id"]),
    was_next_at=("timestamptz", lambda moved: moved[0]["next_at"]),
    next_at=("timestamptz", lambda moved: moved[1].next_at),
    last_at=("timestamptz", lambda moved: moved[1].fires[-1] if moved[1].fires else None),
    missed=("int", lambda moved: moved[1].missed),
)
_RECORD_FIRED = f"""
UPDATE ledger.schedules s
SET next_at = u.next_at, last_at = coalesce(u.last_at, s.last_at), missed = s.missed + u.missed
FROM {_MOVED_ON.unnested("u")}
WHERE s.id = u.id AND s.next_at = u.was_next_at
RETURNING s.id
"""  # noqa: S608 - made of constants


@dataclass(frozen=True, slots=True)
class Fired:
    """What one round of `fire` did. `late_s`: seconds from the fire time to the creation of each run."""

    late_s: tuple[float, ...] = ()
    missed: int = 0


def _due_of(row: Any) -> Due:
    try:
        return owed(row["cron"], row["timezone"], CatchUp(row["catch_up"]), row["next_at"], row["now"])
    except (
        BadCron,
        ZoneInfoNotFoundError,
    ) as error:  # it was valid when it was created: the rules have changed since
        logger.error("schedule.unreadable", schedule=str(row["id"]), error=str(error))
        return Due((), 1, None)


async def fire(db: Database) -> Fired:
    """Create the jobs of the schedules that are due. Several may run at the same time. Raises Unavailable.

    If very many are due, those that have waited longest are first, and the others follow in the next call.
    """
    fired = Fired()
    for _ in range(ROUNDS_AT_MOST):
        rows = await db.fetch(_DUE, timeout_s=PROMPT_S)
        if rows:
            some = await _fire(db, rows)
            fired = Fired(fired.late_s + some.late_s, fired.missed + some.missed)
        if len(rows) < DUE_AT_A_TIME:
            break
    return fired


async def overdue(db: Database) -> int:
    """How many schedules should have fired OVERDUE_AFTER_S ago or earlier. Raises Unavailable."""
    ((number,),) = await db.fetch(_OVERDUE, OVERDUE_AFTER_S, timeout_s=PROMPT_S)
    return int(number)


async def _fire(db: Database, rows: Sequence[Any]) -> Fired:
    dues = [_due_of(row) for row in rows]
    jobs = [
        job_of(dict(row), row["payload"].encode(), row["tenant"], row["created_by"], run, _new_trace())
        for row, due in zip(rows, dues, strict=True)
        for run in (run_id(row["id"], moment) for moment in due.fires)
    ]
    # Create the jobs first: if the update below is lost, the next round tries the same ids and changes nothing.
    for batch in _batches(jobs):
        await accept(db, batch, ticketed=[False] * len(batch))
    moved_on = _MOVED_ON.arrays(list(zip(rows, dues, strict=True)))
    recorded = await db.fetch(_RECORD_FIRED, *moved_on, timeout_s=PROMPT_S)
    by_us = {row[0] for row in recorded}
    ours = [(row["now"], due) for row, due in zip(rows, dues, strict=True) if row["id"] in by_us]
    late = tuple((now - moment).total_seconds() for now, due in ours for moment in due.fires)
    return Fired(late, sum(due.missed for _, due in ours))


def _new_trace() -> str:
    """The trace of a run, which begins with its creation."""
    trace = tracing.new_traceparent()
    if tracing.is_sampled(trace):
        Span("schedule", Kind.PRODUCER, Place.of(trace)).end()
    return trace


def _batches(jobs: Sequence[NewJob]) -> Iterator[list[NewJob]]:
    """`jobs` in parts of at most CREATED_AT_A_TIME, and of CREATED_BYTES unless one job alone has more."""
    batch, size = list[NewJob](), 0
    for job in jobs:
        if batch and (len(batch) == CREATED_AT_A_TIME or size + len(job.payload) > CREATED_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(job)
        size += len(job.payload)
    if batch:
        yield batch


def upcoming(cron: str, timezone: str, number: int) -> list[datetime]:
    """The next `number` fire times from now. Raises BadCron."""
    return list(islice(fire_times(cron, timezone, datetime.now(UTC)), number))
