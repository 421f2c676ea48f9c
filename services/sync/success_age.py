"""How long ago the source that waits longest was read to the end, as a metric that grows while nothing is done."""

from datetime import UTC, datetime

from libs.common import metrics
from libs.common.db import Database

_OLDEST = "SELECT min(coalesce(succeeded_at, created_at)) FROM sync.sources WHERE paused IS NULL"


class SuccessAge:
    """Sources of all tenants, without those that are paused."""

    def __init__(self) -> None:
        self._oldest: datetime | None = None
        metrics.sync_oldest_success_seconds.set_function(self._seconds)

    async def look(self, database: Database) -> None:
        """Look anew, as after each job. Raises Unavailable."""
        ((self._oldest,),) = await database.fetch(_OLDEST)

    def _seconds(self) -> float:
        return 0.0 if self._oldest is None else (datetime.now(UTC) - self._oldest).total_seconds()
