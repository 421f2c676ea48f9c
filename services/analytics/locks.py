"""Who keeps out whom: locks of a tenant and of its days, held until the end of a transaction.

Counting shares them with other counting. What must not happen while events are counted takes them alone:
recounting a day, noting that a subject is erased, changing an event type. Counting does not wait for these, as
its transaction is bounded in time: it is tried again, which is no failure.
"""

from collections.abc import Iterable
from datetime import date

from libs.common.db import Connection, fetch_within
from libs.common.errors import Unavailable

_TENANT = 0
"""In place of a day."""
_SHARE = "SELECT pg_try_advisory_xact_lock_shared(hashtext('analytics:' || $1), d) FROM unnest($2::int[]) AS d"
_ALONE = "SELECT pg_advisory_xact_lock(hashtext('analytics:' || $1), d) FROM unnest($2::int[]) AS d"


async def share(connection: Connection, tenant: str, days: Iterable[date]) -> None:
    """Share the tenant and `days`. Raises Unavailable if somebody has one of them alone, or waits for it."""
    rows = await fetch_within(connection, _SHARE, tenant, [_TENANT, *sorted({day.toordinal() for day in days})])
    if not all(row[0] for row in rows):
        raise Unavailable("Events of this tenant are being recounted or erased.")


async def keep_out(connection: Connection, tenant: str, day: date) -> None:
    """Have one day alone."""
    await fetch_within(connection, _ALONE, tenant, [day.toordinal()])


async def keep_out_all(connection: Connection, tenant: str) -> None:
    """Have all days of the tenant alone."""
    await fetch_within(connection, _ALONE, tenant, [_TENANT])
