"""A worker that is killed at any point leaves nothing half done, and the next one writes each change once."""

import json
import os
import random
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.sync import RunPayload
from services.sync.page import Pages
from tests.chaos.killed_syncer import Killed
from tests.chaos.one_syncer import POINTS
from tests.fetching import fetching_here
from tests.scripted_source import Asked, ScriptedSource, Told, scripted_source
from tests.syncing import Syncer, listing

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
