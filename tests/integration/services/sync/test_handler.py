"""A worker that is killed at any point leaves nothing half done, and the next one writes each change once."""

import os
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.sync import RunPayload
from services.sync.page import Pages
from tests.chaos.killed_syncer import Killed
from tests.chaos.one_syncer import POINTS
from tests.fetching import fetching_here
from tests.mirroring import Listing, left_by, put
from tests.scripted_source import scripted_source
from tests.syncing import Syncer

SEEDS = range(int(os.environ.get("TEST_SEEDS", "1")))
"""`make chaos-sync` tries more."""


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
