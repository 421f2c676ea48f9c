"""Who gets no mail from a tenant: because it came back, because they said so, or because somebody else did."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.contracts.mail import parse_mailbox
from libs.common.db import Database

HARD = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""No such mailbox, system, address; moved away; null MX; disabled. 5.1.7 and 5.1.8 are about the sender."""
_NAMES = ("number", "address", "reason", "created_at", "expires_at")
_PAGE = """
SELECT number, address, reason, created_at, expires_at FROM mail.suppressions
WHERE tenant = $1 AND number > $2 AND ($3::text IS NULL OR address = lower($3)) ORDER BY number LIMIT $4
"""
_ADD = """
INSERT INTO mail.suppressions (tenant, address, reason, expires_at)
SELECT DISTINCT ON (lower(a)) $1, lower(a), $3, $4::timestamptz FROM unnest($2::text[]) AS a
ON CONFLICT (tenant, address) DO UPDATE SET reason = excluded.reason, expires_at = excluded.expires_at
RETURNING xmax = 0
"""
# What somebody asked for is not undone by a bounce that goes away again by itself.
_OF_A_RECIPIENT = """
INSERT INTO mail.suppressions (tenant, address, reason, letter)
SELECT tenant, lower(address), $3, letter FROM mail.recipients WHERE letter = $1 AND number = $2
ON CONFLICT (tenant, address) DO UPDATE SET reason = excluded.reason, letter = excluded.letter, expires_at = NULL
RETURNING address
"""


async def page(
    database: Database, tenant: str, *, after: int, limit: int, address: str | None
) -> list[dict[str, Any]]:
    """Suppressions in the order they were made, after number `after`. Raises Unavailable."""
    bare = None if address is None else parse_mailbox(address).address
    rows = await database.fetch(_PAGE, tenant, after, bare, limit, tenant=tenant)
    return [dict(zip(_NAMES, row, strict=True)) for row in rows]


async def add(
    database: Database, tenant: str, addresses: Sequence[str], reason: str, expires_at: str | None
) -> int:
    """Suppress `addresses`, until `expires_at` (ISO 8601) if given; how many were not yet. Raises Unavailable."""
    until = None if expires_at is None else datetime.fromisoformat(expires_at)
    rows = await database.fetch(
        _ADD, tenant, [parse_mailbox(a).address for a in addresses], reason, until, tenant=tenant
    )
    return sum(row[0] for row in rows)


async def remove(database: Database, tenant: str, address: str) -> bool:
    """Whether there was one to remove. Raises Unavailable."""
    sql = "DELETE FROM mail.suppressions WHERE tenant = $1 AND address = lower($2) RETURNING address"
    return bool(await database.fetch(sql, tenant, parse_mailbox(address).address, tenant=tenant))


def is_hard(enhanced: str | None) -> bool:
    """Whether an enhanced code (RFC 3463) says that there is nobody at this address, now or later.

    A full mailbox, or a text that was not liked, is no reason never to write again.
    """
    return enhanced in HARD


async def suppress_recipient(database: Database, letter: UUID, number: int, reason: str) -> bool:
    """Whether there is such a recipient, who gets no more mail from now on. Raises Unavailable."""
    return bool(await database.fetch(_OF_A_RECIPIENT, letter, number, reason))
