"""PostgreSQL, NATS and Redis go away in the middle of runs, which then leave what undisturbed ones leave."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from libs.common import background, bus, db
from libs.common.backoff import until_available
from libs.common.config import BusSettings, DatabaseSettings
from libs.common.contracts.services import GATEWAY, SYNC
from libs.common.contracts.sync import RunPayload, SyncPayload
from services.gateway.engine.dispatcher import Dispatcher
from services.sync.handler import handle
from tests.chaos import faults
from tests.chaos.fleet import Fleet
from tests.fetching import fetching_here
from tests.mirroring import Listing, left_by, put
from tests.polling import until
from tests.scripted_source import Asked, Told, scripted_source
from tests.syncing import Syncer, syncing
from tests.working import working

SEEDS = range(int(os.environ.get("TEST_SEEDS", "1")))
"""`make chaos-sync` tries more."""
OUTAGES = (
    faults.restart_postgres,
    faults.kill_postgres,
    faults.kill_backends,
    faults.kill_nats,
    faults.wipe_nats,
    faults.kill_redis,
    faults.wipe_redis,
)


@asynccontextmanager
async def at_work(fleet: Fleet, folder: Path) -> AsyncIterator[Syncer]:
    """A worker on servers of its own, which may be killed, and a dispatcher that hands out."""
    settings = DatabaseSettings.model_validate({"database_url": fleet.database_url})
    async with (
        db.connect(settings, SYNC.name, role=SYNC.role) as database,
        db.connect(settings, GATEWAY.name, role=GATEWAY.role) as gateway,
        bus.connect(BusSettings.model_validate({"nats_url": fleet.nats.server.url}), "test") as conveyor,
        syncing(database, gateway, conveyor, folder) as syncer,
        fetching_here(database) as pages,
        background.alongside(background.optional(Dispatcher(gateway, conveyor, [SYNC.name]).run())),
        working(
            SYNC, SyncPayload, handle, replace(syncer.deps, pages=pages),
            database=database, bus=conveyor, slots=1,
        ),
    ):  # fmt: skip
        yield syncer


async def finish(syncer: Syncer, tenant: str, id_: UUID) -> dict[str, Any]:
    """Run a source, and return the result."""
    await until_available(lambda: syncer.database.fetch("UPDATE sync.sources SET not_before = NULL"))
    job = await until_available(lambda: syncer.submit(RunPayload(source=id_), tenant=tenant, max_attempts=20))

    async def ended() -> dict[str, Any] | None:
        facts = await until_available(lambda: syncer.facts(job))
        return facts if facts["finished_at"] else None

    facts = await until(ended)
    assert facts is not None
    assert facts["state"] == "succeeded", facts["errors"]
    result: dict[str, Any] = facts["result"]
    return result


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
async def test_each_change_is_written_once_whoever_is_away(tmp_path: Path, seed: int) -> None:
    chance, list_ = random.Random(seed), Listing(seed)  # noqa: S311 - a test's
    fleet = Fleet(tmp_path, chance)
    striking: list[asyncio.Task[None]] = []
    fault: Any = None

    async def answer(asked: Asked) -> Told:
        """While a page is fetched, and after it, a server is away."""
        if fault is not None and asked.target == "/1" and not striking:
            striking.append(asyncio.create_task(fault(fleet)))
            await asyncio.sleep(chance.uniform(0, 1))
        return list_.answer(asked)

    try:
        for server in (fleet.postgres, fleet.redis, fleet.nats):
            await asyncio.to_thread(server.start)
        await fleet.migrate()
        async with scripted_source(answer) as source, at_work(fleet, tmp_path / "blobs") as syncer:
            ids = {tenant: await put(syncer, source, tenant) for tenant in ("plain", "disturbed")}
            for outage in OUTAGES:
                list_.run += 1
                plain = await finish(syncer, "plain", ids["plain"])
                fault = outage
                disturbed = await finish(syncer, "disturbed", ids["disturbed"])
                (struck,) = striking
                await struck
                fault = None
                striking.clear()
                assert disturbed == plain, outage.__name__
                left = [await until_available(lambda of=of: left_by(syncer, of)) for of in ids]  # type: ignore[misc]
                assert left[0] == left[1], outage.__name__
    finally:
        await fleet.close()
