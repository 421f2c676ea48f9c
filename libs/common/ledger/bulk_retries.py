"""Replays: bulk retries with a rate limit and a failure limit. A job is not changed before it is released.

A replay walks once through the failed jobs that match its filter, oldest first. The failure limit: before the
first success, at most `stop_after` jobs are out, not counting cancelled ones. If that many have failed again, the
replay stops.
"""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.contracts.json_documents import encoded
from libs.common.db import PROMPT_S, Connection, Database, fetch_within
from libs.common.errors import ArgosyError
from libs.common.ledger.job_actions import AT_A_TIME, count_within, retry_within
from libs.common.ledger.jobs import Filter, new_id
from libs.common.ledger.making import Once, making, remember

OPEN_AT_MOST = 10
"""The most replays of one tenant that may be open at the same time."""
_FACTS = "id, state, reason, filter, rate, stop_after, matched, released, created_at, ended_at"
_FILTER = TypeAdapter(Filter)
_COUNT_OPEN = "SELECT count(*) FROM ledger.replays WHERE tenant = $1 AND state = 'releasing'"
_START = """
INSERT INTO ledger.replays (id, tenant, created_by, filter, rate, stop_after, matched)
VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7)
"""


class TooManyReplays(ArgosyError):
    """The tenant may not have more open replays."""


async def start(
    db: Database,
    tenant: str,
    created_by: str,
    wanted: Filter,
    *,
    rate: float | None,
    stop_after: int | None,
    once: Once | None = None,
) -> UUID | None:
    """Start a replay, which the dispatchers carry out. None if no job matches. `rate` is in jobs per second.

    Raises TooManyReplays, Unavailable, and of a repeated request MadeBefore, OtherRequest.
    """
    replay, filter_ = new_id(), encoded(asdict(wanted)).decode()
    async with making(db, tenant, "replays", once) as connection:
        matched = (await count_within(connection, tenant, wanted))["matched"]
        if not matched:
            return None
        ((number,),) = await fetch_within(connection, _COUNT_OPEN, tenant)
        if number >= OPEN_AT_MOST:
            raise TooManyReplays(f"{OPEN_AT_MOST} replays are running already; cancel one, or wait for its end.")
        await fetch_within(connection, _START, replay, tenant, created_by, filter_, rate, stop_after, matched)
        await remember(connection, tenant, once, replay.hex)
    return replay


async def find(db: Database, tenant: str, replay: UUID) -> dict[str, Any] | None:
    """The facts of a replay, and its `jobs` by state, or None. Raises Unavailable."""
    sql = f"SELECT {_FACTS} FROM ledger.replays WHERE tenant = $1 AND id = $2"  # noqa: S608
    rows = await db.fetch(sql, tenant, replay, tenant=tenant)
    if not rows:
        return None
    sql = "SELECT state, count(*) FROM ledger.jobs WHERE replay = $1 GROUP BY state"
    states = await db.fetch(sql, replay, tenant=tenant)
    return dict(rows[0]) | {"jobs": {row[0]: row[1] for row in states}}


async def stop(db: Database, tenant: str, replay: UUID) -> bool:
    """Stop releasing jobs. False if the replay has already ended. Raises Unavailable."""
    return bool(
        await db.fetch(
            "UPDATE ledger.replays SET state = 'cancelled', reason = 'Cancelled by hand.', ended_at = now()"
            " WHERE tenant = $1 AND id = $2 AND state = 'releasing' RETURNING id",
            tenant, replay, tenant=tenant,
        )
    )  # fmt: skip


_OPEN = """
SELECT id, tenant, filter, rate, stop_after, released, position,
       extract(epoch FROM now() - created_at)::float8 AS age_s, created_at
FROM ledger.replays WHERE state = 'releasing' ORDER BY id FOR UPDATE SKIP LOCKED
"""
_OUTCOMES = """
SELECT count(*) FILTER (WHERE state = 'succeeded'),
       count(*) FILTER (WHERE failures > 0 AND state NOT IN ('succeeded', 'cancelled')),
       count(*) FILTER (WHERE state = 'cancelled')
FROM ledger.jobs WHERE replay = $1
"""
_RELEASED = "UPDATE ledger.replays SET released = released + $2, position = coalesce($3, position) WHERE id = $1"
_END = "UPDATE ledger.replays SET state = $2, reason = $3, ended_at = now() WHERE id = $1"


async def release(db: Database) -> int:
    """Release the jobs of every open replay that its limits allow now. Return how many. Raises Unavailable."""
    released = 0
    async with db.begin() as connection:
        for replay in await fetch_within(connection, _OPEN):
            released += await _release(connection, replay)
    return released


async def _release(connection: Connection, replay: Any) -> int:
    room = AT_A_TIME if replay.rate is None else int(replay.rate * replay.age_s) + 1 - replay.released
    if replay.stop_after is not None:
        ((succeeded, failed, cancelled),) = await fetch_within(connection, _OUTCOMES, replay.id)
        if not succeeded:
            room = min(room, replay.stop_after - replay.released + cancelled)
            if failed >= replay.stop_after:
                reason = f"The first {failed} failed again."
                await fetch_within(connection, _END, replay.id, "stopped", reason)
                return 0
    room = min(room, AT_A_TIME)
    if room <= 0:
        return 0
    ids = await _next(connection, replay, room)
    released = await retry_within(connection, replay.tenant, ids, replay.id) if ids else 0
    await fetch_within(connection, _RELEASED, replay.id, released, ids[-1] if ids else None)
    if len(ids) < room:
        await fetch_within(connection, _END, replay.id, "finished", None)
    return released


async def _next(connection: Connection, replay: Any, limit: int) -> list[UUID]:
    wanted = _FILTER.validate_python(replay.filter)
    condition, values = wanted.condition(replay.tenant)
    values += [replay.created_at, replay.position or UUID(int=0)]
    sql = (
        f"SELECT id FROM ledger.jobs WHERE {condition}"  # noqa: S608 - built from constants and $n
        f" AND created_at < ${len(values) - 1} AND id > ${len(values)} ORDER BY id LIMIT {limit:d}"
    )
    return [row[0] for row in await fetch_within(connection, sql, *values)]


async def running(db: Database) -> int:
    """How many replays of all tenants release jobs now. Raises Unavailable."""
    ((number,),) = await db.fetch(
        "SELECT count(*) FROM ledger.replays WHERE state = 'releasing'", timeout_s=PROMPT_S
    )
    return int(number)
