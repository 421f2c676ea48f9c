"""Deadlines, their followers, and the letters that remind followers of deadlines.

A reminder letter goes to all followers of deadlines that are near. The transaction that inserts its recipients
also records who was reminded of what. So nobody is reminded twice, however often the job is tried. The next letter
takes over the followers whom a letter did not reach, because it was cancelled or its template failed. A reminder
that is still queued is cancelled if its deadline is moved or removed, or if the recipient no longer follows it.
One statement reads up to 2,000 due deadlines and followers.

A deadline may follow something that another service knows of, which tells of each change by a job `moved`. Changes
may come in any order, and one may come before the deadline: so each has the revision, and whoever makes such a
deadline asks again afterwards.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic_core import from_json, to_json

from libs.common import log
from libs.common.contracts.mail import (
    FOLLOWERS_AT_MOST,
    AddressedRecipient,
    Followed,
    Letter,
    MailPayload,
    Recipient,
    StoredLetter,
)
from libs.common.contracts.moments import written
from libs.common.db import LONG_S, Database, fetch_within
from libs.common.unnest import Columns
from services.mailer import letters
from services.mailer.delivery_hours import wait_s
from services.mailer.refusals import NotFound, TooManyFollowers

REMINDED_AT_ONCE = 2000
"""Followers read per statement."""
REMINDED_AT_MOST = 100_000
"""Followers reminded by one letter. The next letter reminds the others."""
KEPT_DAYS = 30
"""Days after which a deadline that has passed is deleted."""

logger = log.get("reminders")

# Of what it follows, a later revision may have come by another way.
_KEPT = (
    "CASE WHEN d.follows = excluded.follows AND d.revision > excluded.revision THEN d.{0} ELSE excluded.{0} END"
)
_ASSIGNED = ", ".join(
    f"{name} = {_KEPT.format(name)}" for name in ("due_at", "variables", "retired_at", "revision")
)
_UPSERT_DEADLINE = f"""
INSERT INTO mail.deadlines AS d (tenant, name, due_at, variables, follows, revision, retired_at)
VALUES ($1, $2, $3, $4::json, $5, $6, CASE WHEN $7 THEN now() END)
ON CONFLICT (tenant, name) DO UPDATE SET {_ASSIGNED}, follows = excluded.follows, updated_at = now()
RETURNING due_at
"""  # noqa: S608 - made of constants
_DELETE_FOLLOWERS = """
DELETE FROM mail.followers WHERE tenant = $1 AND deadline = $2 AND lower(address) <> ALL (
  SELECT lower(a) FROM unnest($3::text[]) AS a)
"""
_FOLLOWED_BY: Columns[AddressedRecipient] = Columns(
    address=("text", lambda follower: follower.address),
    name=("text", lambda follower: follower.name),
    variables=("text", lambda follower: to_json(follower.variables).decode()),
    time_zone=("text", lambda follower: follower.time_zone),
)
_UPSERT_FOLLOWERS = f"""
INSERT INTO mail.followers (tenant, deadline, address, name, variables, time_zone)
SELECT DISTINCT ON (lower(u.address)) $1, $2, u.address, u.name, u.variables::json, u.time_zone
FROM {_FOLLOWED_BY.unnested("u", first=3)}
ON CONFLICT (tenant, deadline, lower(address)) DO UPDATE SET
  address = excluded.address, name = excluded.name, variables = excluded.variables,
  time_zone = excluded.time_zone
"""  # noqa: S608 - made of constants
_GET = """
SELECT name, due_at, variables::text, updated_at, follows, retired_at FROM mail.deadlines
WHERE tenant = $1 AND name = $2
"""
_COUNT_FOLLOWERS = "SELECT count(*) FROM mail.followers WHERE tenant = $1 AND deadline = $2"
# A follower was missed if the reminder was cancelled, or is still open although the letter's job has ended.
_MISSED = """
EXISTS (SELECT FROM mail.recipients r WHERE r.letter = f.reminded_by AND r.number = f.reminded_number
  AND (r.state = 'cancelled' OR r.state IN ('queued', 'deferred')
       AND EXISTS (SELECT FROM ledger.jobs j WHERE j.id = r.letter AND j.finished_at IS NOT NULL)))
"""
_FOLLOWERS = f"""
SELECT f.address, f.name, f.variables::text, f.time_zone,
  CASE WHEN f.reminded_of = d.due_at AND NOT {_MISSED} THEN f.reminded_days END
FROM mail.followers f JOIN mail.deadlines d ON d.tenant = f.tenant AND d.name = f.deadline
WHERE f.tenant = $1 AND f.deadline = $2 ORDER BY lower(f.address)
"""  # noqa: S608 - contains no input of a caller
_LIST = """
SELECT d.name, d.due_at, d.updated_at, d.follows, d.retired_at,
  (SELECT count(*) FROM mail.followers f WHERE f.tenant = d.tenant AND f.deadline = d.name)
FROM mail.deadlines d WHERE d.tenant = $1 AND d.name > $2 ORDER BY d.name LIMIT $3
"""
# A deadline that was moved counts as a new one, of which nobody has been reminded. Deadlines are locked before
# their followers, here and in `put`. The older reminder of a follower who is taken over is cancelled.
_REMIND = f"""
WITH due AS (
  SELECT d.name, d.due_at, f.address, near.days, f.reminded_by, f.reminded_number,
    f.reminded_of IS DISTINCT FROM d.due_at OR f.reminded_days > near.days AS fresh
  FROM mail.deadlines d
  JOIN mail.followers f ON f.tenant = d.tenant AND f.deadline = d.name
  CROSS JOIN LATERAL (
    SELECT min(u.days) AS days FROM unnest($2::int[], $3::timestamptz[]) AS u (days, horizon)
    WHERE d.due_at < u.horizon) near
  WHERE d.tenant = $1 AND starts_with(d.name, $11)
    AND d.due_at > $4 AND d.due_at < (SELECT max(h) FROM unnest($3::timestamptz[]) AS h)
    AND d.due_at >= $8 AND (d.due_at, d.name, lower(f.address)) > ($8, $9, $10)
    AND (f.reminded_of IS DISTINCT FROM d.due_at OR f.reminded_days > near.days
         OR f.reminded_by <> $6 AND {_MISSED})
  ORDER BY d.due_at, d.name, lower(f.address) LIMIT $5
  FOR UPDATE OF d, f),
taken_over AS (
  UPDATE mail.recipients r
  SET state = 'cancelled', reply = concat_ws(': ', 'taken over by a later letter', r.reply)
  FROM due WHERE NOT due.fresh AND r.letter = due.reminded_by AND r.number = due.reminded_number
    AND r.state IN ('queued', 'deferred', 'cancelled')
  RETURNING r.letter, r.number),
told AS (
  SELECT due.*, $7 + row_number() OVER (ORDER BY due.due_at, due.name, lower(due.address)) AS number FROM due
  WHERE fresh OR (reminded_by, reminded_number) IN (SELECT letter, number FROM taken_over))
UPDATE mail.followers f SET
  reminded_of = told.due_at, reminded_days = told.days, reminded_by = $6, reminded_number = told.number
FROM told WHERE f.tenant = $1 AND f.deadline = told.name AND lower(f.address) = lower(told.address)
RETURNING f.reminded_number, told.name, told.due_at, f.time_zone, f.address, lower(f.address)
"""  # noqa: S608


class Reminded(NamedTuple):
    """The values of _INSERT_RECIPIENTS. `facts`: the variable `deadline` in JSON; `in_s`: None if too late."""

    number: int
    deadline: str
    key: str
    domain: str
    facts: str
    in_s: float | None


_REMINDED: Columns[Reminded] = Columns(
    number=("int", lambda row: row.number),
    deadline=("text", lambda row: row.deadline),
    key=("text", lambda row: row.key),
    domain=("text", lambda row: row.domain),
    facts=("text", lambda row: row.facts),
    in_s=("float8", lambda row: row.in_s),
)
# Variables never leave the database. Their JSON texts are concatenated: of two variables with the same name, the
# last counts. `in_s` is null if the letter would arrive after the deadline.
_INSERT_RECIPIENTS = f"""
INSERT INTO mail.recipients
  (letter, number, tenant, address, name, domain, variables, time_zone, due_at, state, reply)
SELECT $1, u.number, $2, f.address, f.name, u.domain,
  ('{{' || concat_ws(',', nullif(substr(d.variables::text, 2, length(d.variables::text) - 2), ''),
     nullif(substr(f.variables::text, 2, length(f.variables::text) - 2), ''),
     '"deadline":' || u.facts) || '}}')::json,
  f.time_zone, now() + coalesce(u.in_s, 0) * interval '1 second',
  CASE WHEN s.address IS NOT NULL THEN 'suppressed' WHEN u.in_s IS NULL THEN 'cancelled' ELSE 'queued' END,
  CASE WHEN u.in_s IS NULL THEN 'it would come after the deadline' END
FROM {_REMINDED.unnested("u", first=3)}
JOIN mail.deadlines d ON d.tenant = $2 AND d.name = u.deadline
JOIN mail.followers f ON f.tenant = $2 AND f.deadline = u.deadline AND lower(f.address) = u.key
LEFT JOIN mail.suppressions s ON s.tenant = $2 AND s.address = lower(f.address)
  AND (s.expires_at IS NULL OR s.expires_at > now())
"""  # noqa: S608 - made of constants
_CANCEL_REMINDERS = """
UPDATE mail.recipients r SET state = 'cancelled', reply = 'the deadline was moved, removed or unfollowed'
FROM mail.followers f WHERE f.tenant = $1 AND f.deadline = $2
  AND r.letter = f.reminded_by AND r.number = f.reminded_number AND r.state IN ('queued', 'deferred')
  AND (f.reminded_of IS DISTINCT FROM $3 OR lower(f.address) <> ALL (SELECT lower(a) FROM unnest($4::text[]) AS a))
"""
# What follows something that is still there may have another date tomorrow.
_DELETE_OLD = """
DELETE FROM mail.deadlines WHERE (tenant, name) IN (
  (SELECT tenant, name FROM mail.deadlines
   WHERE due_at < now() - $1 * interval '1 day' AND follows IS NULL ORDER BY due_at LIMIT 500)
  UNION ALL
  (SELECT tenant, name FROM mail.deadlines
   WHERE retired_at < now() - $1 * interval '1 day' ORDER BY retired_at LIMIT 500))
RETURNING name
"""
_FOLLOWED: Columns[Followed] = Columns(
    follows=("text", lambda one: one.follows),
    revision=("int", lambda one: one.revision),
    due_at=("timestamptz", lambda one: one.due_at),
    variables=("text", lambda one: to_json(one.variables).decode()),
    is_gone=("bool", lambda one: one.is_gone),
)
_LOCK_FOLLOWING = """
SELECT name FROM mail.deadlines WHERE tenant = $1 AND follows = ANY($2::text[]) ORDER BY name FOR UPDATE
"""
_MOVE = f"""
UPDATE mail.deadlines d SET due_at = m.due_at, variables = m.variables::json, revision = m.revision,
  retired_at = CASE WHEN m.is_gone THEN coalesce(d.retired_at, now()) END, updated_at = now()
FROM {_FOLLOWED.unnested("m", first=2)}
WHERE d.tenant = $1 AND d.follows = m.follows AND d.revision < m.revision
RETURNING d.name
"""  # noqa: S608 - made of constants
_CANCEL_MOVED = """
UPDATE mail.recipients r SET state = 'cancelled', reply = 'the deadline was moved'
FROM mail.followers f JOIN mail.deadlines d ON d.tenant = f.tenant AND d.name = f.deadline
WHERE f.tenant = $1 AND f.deadline = ANY($2::text[]) AND f.reminded_of IS DISTINCT FROM d.due_at
  AND r.letter = f.reminded_by AND r.number = f.reminded_number AND r.state IN ('queued', 'deferred')
"""


class Reminder(NamedTuple):
    """A follower to be reminded. `key`: the address in lower case, as PostgreSQL lowers it."""

    number: int
    deadline: str
    due_at: datetime
    zone: str | None
    address: str
    key: str


async def put(
    database: Database,
    tenant: str,
    name: str,
    due_at: datetime | None,
    variables: dict[str, Any],
    followers: Sequence[Recipient],
    *,
    followed: Followed | None = None,
    keep_others: bool = False,
) -> None:
    """Create or replace a deadline. `followers` replaces all existing followers, unless `keep_others`.

    What it follows, if anything, says `due_at` and `variables` too. Raises TooManyFollowers, Unavailable.
    """
    addressed = [AddressedRecipient.of(follower) for follower in followers]
    addresses = [follower.address for follower in addressed]
    facts = (None, 0, False) if followed is None else (followed.follows, followed.revision, followed.is_gone)
    text = to_json(variables).decode()
    async with database.begin(tenant=tenant) as connection:
        ((due_at,),) = await fetch_within(connection, _UPSERT_DEADLINE, tenant, name, due_at, text, *facts)
        if keep_others:
            await fetch_within(connection, _CANCEL_MOVED, tenant, [name])
        else:
            await fetch_within(connection, _CANCEL_REMINDERS, tenant, name, due_at, addresses)
            await fetch_within(connection, _DELETE_FOLLOWERS, tenant, name, addresses)
        await fetch_within(connection, _UPSERT_FOLLOWERS, tenant, name, *_FOLLOWED_BY.arrays(addressed))
        ((number,),) = await fetch_within(connection, _COUNT_FOLLOWERS, tenant, name)
        if number > FOLLOWERS_AT_MOST:
            raise TooManyFollowers


async def move(database: Database, tenant: str, moved: Sequence[Followed]) -> int:
    """Tell deadlines what they follow, unless they know better. Returns how many have changed. Idempotent.

    Raises Unavailable.
    """
    async with database.begin(tenant=tenant) as connection:
        await fetch_within(connection, _LOCK_FOLLOWING, tenant, [one.follows for one in moved])
        rows = await fetch_within(connection, _MOVE, tenant, *_FOLLOWED.arrays(moved))
        names = [row[0] for row in rows]
        await fetch_within(connection, _CANCEL_MOVED, tenant, names)
    return len(names)


async def get(database: Database, tenant: str, name: str) -> dict[str, Any]:
    """Get a deadline, with its followers in the order of their addresses. Raises NotFound, Unavailable."""
    rows = await database.fetch(_GET, tenant, name, tenant=tenant)
    if not rows:
        raise NotFound("There is no such deadline.")
    names = ("name", "due_at", "variables", "updated_at", "opportunity", "gone_at")
    found = dict(zip(names, rows[0], strict=True))
    followers = [
        {
            "to": f"{shown} <{address}>" if shown else address,
            "variables": from_json(own),
            "time_zone": zone,
            "reminded_days": days,
        }
        for address, shown, own, zone, days in await database.fetch(_FOLLOWERS, tenant, name, tenant=tenant)
    ]
    return found | {"variables": from_json(found["variables"]), "followers": followers}


async def page(database: Database, tenant: str, *, after: str, limit: int) -> list[dict[str, Any]]:
    """List deadlines by name, from the first after `after`, with follower counts. Raises Unavailable."""
    rows = await database.fetch(_LIST, tenant, after, limit, tenant=tenant)
    names = ("name", "due_at", "updated_at", "opportunity", "gone_at", "followers")
    return [dict(zip(names, row, strict=True)) for row in rows]


async def remove(database: Database, tenant: str, name: str) -> bool:
    """Remove a deadline. Returns False if there was none. Raises Unavailable."""
    async with database.begin(tenant=tenant) as connection:
        locked = "SELECT FROM mail.deadlines WHERE tenant = $1 AND name = $2 FOR UPDATE"
        await fetch_within(connection, locked, tenant, name)
        await fetch_within(connection, _CANCEL_REMINDERS, tenant, name, None, [])
        gone = "DELETE FROM mail.deadlines WHERE tenant = $1 AND name = $2 RETURNING name"
        return bool(await fetch_within(connection, gone, tenant, name))


async def forget(database: Database) -> None:
    """Delete deadlines that passed, or were retired, more than KEPT_DAYS days ago. Raises Unavailable."""
    while await database.fetch(_DELETE_OLD, KEPT_DAYS, timeout_s=LONG_S):
        pass


async def store(
    database: Database, letter_id: UUID, tenant: str, stored: StoredLetter, payload: MailPayload, now: datetime
) -> int:
    """Store a letter to all followers who are to be reminded now. Returns their number. Idempotent.

    Raises Unavailable.
    """
    days = list(payload.days_before)
    horizons = [_end_of_day(stored.letter, now, number) for number in days]
    total, last = 0, (now, "", "")
    async with database.begin() as connection:
        if not await letters.insert_letter(connection, letter_id, tenant, stored):
            counted = "SELECT count(*) FROM mail.recipients WHERE letter = $1"
            return int((await fetch_within(connection, counted, letter_id))[0][0])
        while total < REMINDED_AT_MOST:
            reminded = await fetch_within(
                connection, _REMIND,
                tenant, days, horizons, now, REMINDED_AT_ONCE, letter_id, total - 1, *last, payload.deadlines,
            )  # fmt: skip
            if not reminded:
                return total
            reminders = sorted(Reminder(*row) for row in reminded)
            rows = [_row(stored.letter, now, reminder) for reminder in reminders]
            await fetch_within(connection, _INSERT_RECIPIENTS, letter_id, tenant, *_REMINDED.arrays(rows))
            last = (reminders[-1].due_at, reminders[-1].deadline, reminders[-1].key)
            total += len(reminders)
    logger.warning("reminders.left", tenant=tenant, letter=letter_id.hex, at_most=REMINDED_AT_MOST)
    return total


def _end_of_day(letter: Letter, now: datetime, days: int) -> datetime:
    """Return the end of the day that is `days` after today, in the time zone of the letter."""
    local_zone = ZoneInfo(letter.time_zone)
    day = now.astimezone(local_zone).date() + timedelta(days=days + 1)
    return datetime.combine(day, time(), local_zone).astimezone(UTC)


def _row(letter: Letter, now: datetime, reminder: Reminder) -> Reminded:
    """Return the values of _INSERT_RECIPIENTS. Dates are in the follower's time zone, days left as of sending."""
    local_zone = ZoneInfo(reminder.zone or letter.time_zone)
    in_s = wait_s(letter, reminder.zone, now, is_first=True)
    sent_at, local = now + timedelta(seconds=in_s), reminder.due_at.astimezone(local_zone)
    facts = {
        "name": reminder.deadline,
        "due_at": written(reminder.due_at),
        "date": local.date().isoformat(),
        "time": f"{local:%H:%M}",
        "days_left": (local.date() - sent_at.astimezone(local_zone).date()).days,
    }
    domain = reminder.address.rpartition("@")[2]
    in_time = in_s if sent_at < reminder.due_at else None
    return Reminded(reminder.number, reminder.deadline, reminder.key, domain, to_json(facts).decode(), in_time)
