"""A source whose list is another one with each run, and what runs leave: disturbed ones must leave the same."""

import json
import random
from typing import Any
from uuid import UUID

from tests.scripted_source import Asked, ScriptedSource, Told
from tests.syncing import Syncer, listing

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


async def left_by(syncer: Syncer, tenant: str) -> tuple[list[Any], list[Any]]:
    """Rows and history, without ids and times."""
    rows = [
        {name: value for name, value in row.items() if name not in VOLATILE} | {"gone": row["gone_at"] is not None}
        for row in (await syncer.rows(tenant)).values()
    ]
    return rows, sorted(await syncer.history(tenant), key=repr)
