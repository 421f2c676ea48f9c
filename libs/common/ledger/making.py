"""Making what a tenant has few of: one at a time, so that a maximum is exact, and once for each Idempotency-Key.

Jobs are too many for a turn each. They keep the key in their own row instead (accept.py).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from libs.common.db import LONG_S, PROMPT_S, Connection, Database, fetch_within
from libs.common.errors import ArgosyError
from libs.common.ledger.durability import CONFIRMED

_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended($1 || ' of ' || $2, 0))"
_MADE = "SELECT request_sha256, made FROM ledger.idempotency WHERE tenant = $1 AND key = $2"
_REMEMBER = """
INSERT INTO ledger.idempotency (tenant, key, request_sha256, made) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING made
"""
_FORGET = """
DELETE FROM ledger.idempotency WHERE (tenant, key) IN (
  SELECT tenant, key FROM ledger.idempotency WHERE created_at < now() - $1 * interval '1 second'
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING tenant
"""


class OtherRequest(ArgosyError):
    """Another request has this Idempotency-Key."""


class MadeBefore(ArgosyError):
    """This request has been carried out before. It made the thing with the id `made`."""

    def __init__(self, made: str) -> None:
        super().__init__(f"It has made {made} before.")
        self.made = made


@dataclass(frozen=True, slots=True)
class Once:
    """A request that is carried out once: its Idempotency-Key, and the SHA-256 of what it says."""

    key: str
    request_sha256: bytes


@asynccontextmanager
async def making(db: Database, tenant: str, kind: str, once: Once | None = None) -> AsyncIterator[Connection]:
    """A transaction in which nobody else makes something of this kind for `tenant`, so that it can be counted.

    Raises MadeBefore, OtherRequest, Unavailable.
    """
    try:
        async with db.begin(tenant=tenant) as connection:
            await fetch_within(connection, _ALONE, kind, tenant)
            if once is not None:
                await _refuse_a_repeat(connection, tenant, once)
            yield connection
    except MadeBefore:
        await db.fetch(f"SELECT {CONFIRMED}", tenant=tenant, timeout_s=PROMPT_S)
        raise


async def remember(connection: Connection, tenant: str, once: Once | None, made: str) -> None:
    """Note in the transaction that makes it that `once` has made the thing with the id `made`.

    Raises OtherRequest.
    """
    if once is None:
        return
    if not await fetch_within(connection, _REMEMBER, tenant, once.key, once.request_sha256, made):
        raise OtherRequest  # of another kind, at the same time


async def forget(db: Database, *, older_than_s: float, limit: int) -> int:
    """Forget up to `limit` requests older than `older_than_s` seconds. Return how many. Raises Unavailable."""
    return len(await db.fetch(_FORGET, older_than_s, limit, timeout_s=LONG_S))


async def _refuse_a_repeat(connection: Connection, tenant: str, once: Once) -> None:
    for request_sha256, made in await fetch_within(connection, _MADE, tenant, once.key):
        if request_sha256 != once.request_sha256:
            raise OtherRequest
        raise MadeBefore(made)
