"""The suppression list of each tenant: addresses that get no mail after a bounce, a complaint or a request."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.contracts.mail import parse_mailbox
from libs.common.db import Database
from services.mailer.recipient_tokens import Subscriber

HARD = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""Enhanced codes of hard bounces.

No such mailbox, system or address; moved; null MX; disabled. 5.1.7 and 5.1.8 are about the sender.
"""
_COLUMNS = ("number", "address", "reason", "created_at", "expires_at")
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
# Removes the expiry of an existing suppression: what the recipient asked for must not end by itself.
_ADD_ONE = """
INSERT INTO mail.suppressions (tenant, address, reason, letter) VALUES ($1, lower($2), $3, $4)
ON CONFLICT (tenant, address) DO UPDATE SET reason = excluded.reason, letter = excluded.letter, expires_at = NULL
RETURNING address
"""


async def page(
    database: Database, tenant: str, *, after: int, limit: int, address: str | None
) -> list[dict[str, Any]]:
    """List suppressions in the order of creation, from the first after number `after`. Raises Unavailable."""
    bare = None if address is None else parse_mailbox(address).address
    rows = await database.fetch(_PAGE, tenant, after, bare, limit, tenant=tenant)
    return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]


async def add(
    database: Database, tenant: str, addresses: Sequence[str], reason: str, expires_at: str | None
) -> int:
    """Suppress addresses, until `expires_at` (ISO 8601) if set. Returns how many are new. Raises Unavailable."""
    expiry = None if expires_at is None else datetime.fromisoformat(expires_at)
    rows = await database.fetch(
        _ADD, tenant, [parse_mailbox(a).address for a in addresses], reason, expiry, tenant=tenant
    )
    return sum(row[0] for row in rows)


async def remove(database: Database, tenant: str, address: str) -> bool:
    """Remove a suppression. Returns False if there was none. Raises Unavailable."""
    sql = "DELETE FROM mail.suppressions WHERE tenant = $1 AND address = lower($2) RETURNING address"
    return bool(await database.fetch(sql, tenant, parse_mailbox(address).address, tenant=tenant))


def is_hard(enhanced: str | None) -> bool:
    """Whether an enhanced code (RFC 3463) is a hard bounce: the address does not exist, and never will.

    A full mailbox or a rejected text is no reason to suppress the address.
    """
    return enhanced in HARD


async def suppress_recipient(database: Database, letter_id: UUID, number: int, reason: str) -> bool:
    """Suppress the address of a recipient. Returns False if there is no such recipient. Raises Unavailable."""
    subscriber = await find_subscriber(database, letter_id, number)
    if subscriber is not None:
        await suppress(database, subscriber, reason)
    return subscriber is not None


async def find_subscriber(database: Database, letter_id: UUID, number: int) -> Subscriber | None:
    """Return whom a letter was sent to as recipient `number`, if it is still kept. Raises Unavailable."""
    rows = await database.fetch(
        "SELECT letter, tenant, address FROM mail.recipients WHERE letter = $1 AND number = $2", letter_id, number
    )
    return Subscriber(*rows[0]) if rows else None


async def suppress(database: Database, subscriber: Subscriber, reason: str) -> None:
    """Suppress an address for good. Raises Unavailable."""
    letter_id, tenant, address = subscriber
    await database.fetch(_ADD_ONE, tenant, address, reason, letter_id, tenant=tenant)
