"""A sync worker of a process of its own, which is killed at a point of its work."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from deploy.local.test_servers import Trio
from libs.common.config import DatabaseSettings
from libs.common.ledger import requeueing
from tests.syncing import SECRET, Syncer

ROOT = Path(__file__).resolve().parents[2]


class Killed:
    """A worker process that is killed at a point; the fleet then notices that it is gone."""

    def __init__(self, syncer: Syncer, settings: DatabaseSettings, servers: Trio, folder: Path) -> None:
        self._syncer = syncer
        self._environment = os.environ | {
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "NATS_URL": servers.nats.url,
            "BLOB_URL": folder.as_uri(),
            "SYNC_SECRET": SECRET,
            "SYNC_ALLOWED_NETWORKS": "127.0.0.0/8",
            "SYNC_HOST_GAP_S": "0",
            "SANDBOX_CONFINEMENT": "if-available",
            "ARGOSY_RUN_DIR": str(folder),
        }

    async def at(self, point: str) -> None:
        """Let one work until then."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.one_syncer", point, cwd=ROOT, env=self._environment
        )
        assert await process.wait() == -signal.SIGKILL
        await self._syncer.gateway.fetch("UPDATE ledger.workers SET heartbeat_at = now() - interval '1 hour'")
        await self._syncer.database.fetch("UPDATE sync.hosts SET next_at = now()")  # its turn has passed
        assert await requeueing.recover(self._syncer.gateway)
