"""Ends a job together with the rows of its handler, in one transaction that is fenced and bounded in time.

The end is written last, and undoes the effects if the job is lost. Only then is it known what the effects add to
the result; and the job's row is locked for a moment only, so that who cancels it does not wait for the effects.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

from libs.common.db import Database
from libs.common.errors import ArgosyError, Unavailable
from libs.common.ledger.finish import Outcome, finish_within, is_held
from libs.common.worker.job import Done

EFFECTS_WITHIN_S = 5.0
"""How long effects may take as a whole, in seconds. What they have locked, others wait for."""
CONNECTIONS_LEFT = 2
"""Connections of the pool that effects leave to heartbeats and claims."""


class EffectsTooSlow(ArgosyError):
    """The job's effects took longer than they may."""


class _JobLost(Exception):
    """Rolls back the effects of an attempt whose worker no longer holds the job."""


def effects_at_once(db: Database) -> asyncio.Semaphore:
    """How many jobs of a process may end with effects at the same time."""
    return asyncio.Semaphore(max(1, db.max_connections - CONNECTIONS_LEFT))


async def end_with_effects(db: Database, worker: UUID, outcome: Outcome, done: Done) -> bool:
    """Write the effects of `done`, and then `outcome` with what they add to its result. False if the job is lost.

    Raises EffectsTooSlow, Unavailable.
    """
    try:
        async with db.begin() as connection:
            if done.effects is not None:
                if not await is_held(connection, worker, outcome):  # or they would run in vain
                    raise _JobLost
                added = await _in_time(done.effects(connection))
                outcome = outcome._replace(result=done.result | (added or {}))
            if not await finish_within(connection, worker, outcome, forget_payload=done.forget_payload):
                raise _JobLost
    except _JobLost:
        return False
    except EffectsTooSlow as error:
        if await db.reachable():
            raise
        raise Unavailable("PostgreSQL was away while the job's effects were written.") from error
    if done.when_written is not None:
        done.when_written(outcome.result or {})
    return True


async def _in_time(effects: Awaitable[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Await `effects`. Here and not on the server, because most of the time may be between statements."""
    try:
        async with asyncio.timeout(EFFECTS_WITHIN_S) as bound:
            return await effects
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise EffectsTooSlow(f"The job's effects took longer than {EFFECTS_WITHIN_S:g} s.") from error
