"""Keeps the ledger consistent and small: accounts for accepted jobs, and removes old jobs and their files.

Every gateway does it. They skip each other's locked rows, and doing a part twice changes nothing.
"""

import asyncio
import time

from libs.common import background, log, metrics
from libs.common.blobs import Blobs
from libs.common.db import Database
from libs.common.errors import BlobMissing, StorageUnavailable
from libs.common.ledger import bulk_retries, consistency_check, making, retention, schedules
from services.gateway.config import RetentionSettings

ROUND_S = 10.0
SHARE_OF_TIME = 0.02
"""Balancing counts the waiting jobs. With a long backlog it runs less often, to take no more than this share."""
JOBS_AT_A_TIME = 500
DAY_S = 86_400.0

logger = log.get("retention")


class Retention:
    """Compares accepted jobs with those in the ledger, and removes jobs that are too old or too much."""

    def __init__(self, database: Database, blobs: Blobs, settings: RetentionSettings) -> None:
        self._db = database
        self._blobs = blobs
        self._settings = settings
        self._next_balance_at = float("-inf")
        metrics.show_from_the_start(metrics.jobs_removed, reason=("age", "bytes", "request"))
        metrics.stored_bytes_allowed.set(settings.retention_max_bytes)

    async def run(self) -> None:
        """Run a round every ROUND_S seconds, for ever."""
        while True:
            with background.surviving("Retention.run"):
                await self.go_round()
            await asyncio.sleep(ROUND_S)

    async def go_round(self) -> None:
        """Run one round. Raises Unavailable."""
        if time.monotonic() >= self._next_balance_at:
            started_at = time.monotonic()
            await self.balance()
            took_s = time.monotonic() - started_at
            self._next_balance_at = time.monotonic() + took_s / SHARE_OF_TIME
        await self._remove_old()
        await self._remove_beyond_budget()
        await self._forget_requests()
        while await retention.mark_unclaimed_uploads(self._db, JOBS_AT_A_TIME) == JOBS_AT_A_TIME:
            pass
        await self._empty_trash()

    async def balance(self) -> None:
        """Compact the accounting entries, and export the balance of each queue as metrics."""
        await consistency_check.compact_entries(self._db)
        accounts = await consistency_check.balance(self._db)
        for account in accounts:
            queue = account["queue"]
            for state in ("scheduled", "queued", "running", "waiting"):
                metrics.jobs_in_state.labels(queue, state).set(account[state])
            metrics.jobs_unaccounted.labels(queue).set(account["unaccounted"])
            metrics.oldest_waiting_seconds.labels(queue).set(account["oldest_waiting_s"])
            metrics.stored_bytes.labels(queue).set(account["bytes"])
            if account["unaccounted"]:
                logger.error("accounting.unbalanced", **account)
        metrics.trash_folders.set(await retention.folders_in_trash(self._db))
        metrics.replays_running.set(await bulk_retries.running(self._db))
        metrics.schedules_overdue.set(await schedules.overdue(self._db))
        metrics.accounting_updated.set_to_current_time()

    async def _remove_old(self) -> None:
        days, days_by_queue = self._settings.days_kept
        succeeded = {queue: fewer * DAY_S for queue, fewer in days_by_queue.items()}
        removed = JOBS_AT_A_TIME
        while removed == JOBS_AT_A_TIME:
            removed = await retention.remove_ended_jobs(
                self._db, older_than_s=days * DAY_S, succeeded_older_than_s=succeeded, limit=JOBS_AT_A_TIME
            )
            metrics.jobs_removed.labels("age").inc(removed)

    async def _forget_requests(self) -> None:
        """Forget the Idempotency-Keys of what is no job, after the same time."""
        days, _ = self._settings.days_kept
        while await making.forget(self._db, older_than_s=days * DAY_S, limit=JOBS_AT_A_TIME) == JOBS_AT_A_TIME:
            pass

    async def _remove_beyond_budget(self) -> None:
        # The sum is read each time, because other gateways remove jobs as well.
        while (stored := await consistency_check.stored_bytes(self._db)) > self._settings.retention_max_bytes:
            removed = await retention.remove_ended_jobs(self._db, older_than_s=0, limit=JOBS_AT_A_TIME // 10)
            if not removed:
                logger.warning("retention.over_budget", bytes=stored)  # all of it belongs to unfinished jobs
                return
            metrics.jobs_removed.labels("bytes").inc(removed)

    async def _empty_trash(self) -> None:
        while folders := await retention.unneeded_folders(self._db, JOBS_AT_A_TIME):
            emptied = [folder for folder in folders if await self._empty(folder)]
            await retention.forget_folders(self._db, emptied)
            if len(emptied) < len(folders):
                logger.warning("retention.folders_not_removed", folders=len(folders) - len(emptied))
                return

    async def _empty(self, folder: str) -> bool:
        """Whether the folder could be emptied. If not, the next round tries again."""
        try:
            await self._blobs.delete_folder(folder)
        except (StorageUnavailable, BlobMissing):
            return False
        return True
