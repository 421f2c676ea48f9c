"""A worker that is killed at any point leaves nothing half done, and the next one writes each change once."""

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deploy.local.test_servers import Trio
from libs.common.config import DatabaseSettings
from libs.common.contracts.sync import RunPayload
from libs.common.ledger import requeueing
from services.sync.page import Pages
from tests.chaos.one_syncer import POINTS
from tests.fetching import fetching_here
from tests.scripted_source import Asked, ScriptedSource, Told, scripted_source
from tests.syncing import SECRET, Syncer, listing

ROOT = Path(__file__).resolve().parents[4]
SEEDS = range(int(os.environ.get("TEST_SEEDS", "1")))
"""`make chaos-sync` tries more."""
PAGE = 7
VOLATILE = ("id", "source", "changed_by", "first_run", "last_run", "created_at", "changed_at", "gone_at", "tenant")


class Listing:
    """A server whose list is another one with each run: three pages, each of which names the next."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.run = 0

    def answer(self, asked: Asked) -> Told:
        """A page of the list."""
        chance = random.Random(f"{self._seed}/{self.run}")  # noqa: S311 - a test's
        numbers = chance.sample(range(40), 3 * PAGE)
        records: list[Any] = [listing(n, title=f"Grant {n} {chance.choice('ab')}")[0] for n in numbers]
        records[chance.randrange(PAGE)] = {"id": "bad"}
        page = int(asked.target.rpartition("/")[2])
        following = f"/{page + 1}" if page < 2 else None
        body = {"records": records[page * PAGE : (page + 1) * PAGE], "next": following}
        return Told(json.dumps(body).encode(), headers={"Content-Type": "application/json"})


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


@pytest.fixture
def killed(syncer: Syncer, database_settings: DatabaseSettings, servers: Trio, tmp_path: Path) -> Killed:
    return Killed(syncer, database_settings, servers, tmp_path)


async def put(syncer: Syncer, source: ScriptedSource, tenant: str) -> UUID:
    """The source of a tenant."""
    paging = {"kind": "json_link", "link": "next"}
    mapping = {"records": "records", "key": "id", "title": "title", "closes_at": "closes"}
    return await syncer.source(
        "grants", tenant, url=f"{source.url}/0", paging=paging, mapping=mapping, max_gone_ratio=1
    )


async def finish(syncer: Syncer, pages: Pages, tenant: str, id_: UUID, kill: Any = None) -> dict[str, Any]:
    """Run a source, after a worker has been killed over it, and return the result."""
    await syncer.database.fetch("UPDATE sync.sources SET not_before = NULL")
    job = await syncer.submit(RunPayload(source=id_), tenant=tenant)
    if kill is not None:
        await kill
    await syncer.work(pages=pages)
    facts = await syncer.facts(job)
    assert facts["state"] == "succeeded", facts["errors"]
    result: dict[str, Any] = facts["result"]
    return result


async def left_by(syncer: Syncer, tenant: str) -> tuple[list[Any], list[Any]]:
    """Rows and history, without ids and times."""
    rows = [
        {name: value for name, value in row.items() if name not in VOLATILE} | {"gone": row["gone_at"] is not None}
        for row in (await syncer.rows(tenant)).values()
    ]
    return rows, sorted(await syncer.history(tenant), key=repr)


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
async def test_each_change_is_written_once_whoever_is_killed(syncer: Syncer, killed: Killed, seed: int) -> None:
    list_ = Listing(seed)
    async with scripted_source(list_.answer) as source, fetching_here(syncer.database) as pages:
        ids = {tenant: await put(syncer, source, tenant) for tenant in ("plain", "killed")}
        for point in POINTS:
            list_.run += 1
            plain = await finish(syncer, pages, "plain", ids["plain"])
            disturbed = await finish(syncer, pages, "killed", ids["killed"], killed.at(point))
            assert disturbed == plain, point
            assert await left_by(syncer, "killed") == await left_by(syncer, "plain"), point


async def test_a_job_of_the_fleets_schedule_has_no_payload(syncer: Syncer) -> None:
    rows = await syncer.gateway.fetch(
        "SELECT tenant, kind, payload::text FROM ledger.schedules WHERE queue = 'sync'"
    )
    assert [tuple(row) for row in rows] == [("argosy", "housekeeping", "{}")]
