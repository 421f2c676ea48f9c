"""Searches among 200,000 opportunities of a tenant and those of 20 others, each beside its limit in the same run.

The limit is the query that finds the same page without row-level security, as the owner of the table. What the
tenant's own role would take, for which PostgreSQL must not use the index of words, is shown beside it. One client.
`--plans` shows the plans of finding and reading.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from libs.common.config import DatabaseSettings
from libs.common.contracts.opportunities import Match, Search
from libs.common.contracts.services import SYNC
from libs.common.db import Connection, Database, connect, fetch_within
from services.sync import matching, opportunities, searching
from services.sync.cursors import Cursors

TENANT = "tenant-0"
OTHERS = 20
WORDS = 5_000
BATCH = 10_000
CURSORS = Cursors("a secret of the benchmark, which is long enough")
SOURCES = """
INSERT INTO sync.sources (tenant, id, name, spec)
SELECT 'tenant-' || n, md5('tenant-' || n)::uuid, 'source', '{"language": "english"}'
FROM generate_series(0, $1::int) n
"""
# Words follow Zipf's law: the rank of a word is the exponential of a number drawn evenly.
FILL = """
INSERT INTO sync.opportunities (tenant, id, source, key, title, summary, agency, closes_at, extra, raw, language,
  digest, first_run, last_run, created_at)
SELECT $1, gen_random_uuid(), md5($1)::uuid, n::text, drawn.title, drawn.summary, 'agency ' || n % 40,
  now() + (n * 7919 % 400 - 200) * interval '1 day', '{}', '{}', 'english', '', md5('r')::uuid, md5('r')::uuid,
  now() - n * interval '1 second'
FROM generate_series($2::int, $3::int) n CROSS JOIN LATERAL (
  SELECT string_agg('word' || chr(97 + r % 26) || r, ' ') FILTER (WHERE w <= 8) AS title,
    string_agg('word' || chr(97 + r % 26) || r, ' ') FILTER (WHERE w > 8) AS summary
  FROM (SELECT w, exp(random() * ln($4::int) + n * 0)::int AS r FROM generate_series(1, 24) w) words) drawn
"""
SEARCHES: dict[str, dict[str, Any]] = {
    "rare word": {"q": "wordu4478"},
    "two words": {"q": "wordh33 wordk88"},
    "common word, open": {"q": "wordb1", "status": ["open"]},
    "everything, open": {"status": ["open"]},
    "newest": {"order": "newest"},
    "an agency": {"agency": ["agency 7"], "status": ["open"]},
    "two words by relevance": {"q": "wordh33 wordk88", "order": "relevance"},
}


def word(rank: int) -> str:
    """The word of this rank."""
    return f"word{chr(97 + rank % 26)}{rank}"


async def fill(owner: Database, number: int) -> None:
    """Make the opportunities of all tenants."""
    await owner.fetch(SOURCES, OTHERS)
    await owner.fetch("DROP INDEX sync.opportunities_by_words")  # it is made in one go afterwards
    for tenant in range(OTHERS + 1):
        of_tenant = number if tenant == 0 else number // OTHERS
        for begin in range(1, of_tenant + 1, BATCH):
            end = min(begin + BATCH - 1, of_tenant)
            await owner.fetch(FILL, f"tenant-{tenant}", begin, end, WORDS, timeout_s=300)
    await owner.fetch(
        "CREATE INDEX opportunities_by_words ON sync.opportunities USING gin (search)", timeout_s=600
    )
    await owner.fetch("VACUUM ANALYZE sync.opportunities", timeout_s=300)


async def p95_ms(work: Callable[[], Awaitable[object]], repeat: int) -> float:
    """The 95th percentile of the milliseconds it takes, after one that warms up."""
    await work()
    taken = list[float]()
    for _ in range(repeat):
        begun = time.perf_counter()
        await work()
        taken.append(1_000 * (time.perf_counter() - begun))
    return statistics.quantiles(taken, n=20)[-1]


async def found(connection: Connection, asked: Search) -> searching.Found:
    """What a search finds, by whoever the transaction works as."""
    queries = await searching.queries_of(connection, TENANT, asked.q) if asked.q else None
    return await searching.find(connection, TENANT, asked, queries, None)


async def as_the_owner(owner: Database, asked: Search) -> None:
    """The limit: find and read without row-level security."""
    async with searching.carefully(owner) as connection:
        ids = (await found(connection, asked)).ids
        await opportunities.read(connection, ids[: asked.limit], ())


async def as_the_tenant(service: Database, asked: Search) -> None:
    """What one would write without knowing better."""
    async with service.begin(tenant=TENANT) as connection:
        ids = (await found(connection, asked)).ids
        await opportunities.read(connection, ids[: asked.limit], ())


async def search_bench(owner: Database, service: Database, repeat: int) -> None:
    """Milliseconds of each search."""
    print(f"{'p95 in ms':28}{'search':>9}{'limit':>9}{'ratio':>7}{'as the tenant':>15}")
    for name, given in SEARCHES.items():
        asked = Search.model_validate(given)
        ours = await p95_ms(partial(searching.search, service, TENANT, asked, CURSORS), repeat)
        limit = await p95_ms(partial(as_the_owner, owner, asked), repeat)
        naive = await p95_ms(partial(as_the_tenant, service, asked), 3)
        print(f"{name:28}{ours:9.1f}{limit:9.1f}{ours / limit:7.2f}{naive:15.1f}")
    faceted = Search.model_validate({"q": word(1), "facets": ["status", "agency", "source"]})
    facets = await p95_ms(lambda: searching.search(service, TENANT, faceted, CURSORS), min(repeat, 30))
    print(f"{'three facets of 10,000':28}{facets:9.1f}")
    text = Match(text=" ".join(word(rank) for rank in range(1, 3_000, 40)))
    matched = await p95_ms(lambda: matching.match(service, TENANT, text), min(repeat, 30))
    print(f"{'a text of 75 words':28}{matched:9.1f}")


async def show_plans(service: Database) -> None:
    """How PostgreSQL finds and reads."""
    for name in ("two words", "common word, open"):
        asked = Search.model_validate(SEARCHES[name])
        for what, tenant in (("as the service", None), ("as the tenant", TENANT)):
            async with service.begin(tenant=tenant) as connection:
                queries = await searching.queries_of(connection, TENANT, asked.q)
                conditions = searching.filtered(TENANT, asked, queries)
                await fetch_within(connection, "SET LOCAL plan_cache_mode = force_custom_plan")
                finding = f"""
EXPLAIN (ANALYZE, COSTS OFF) SELECT o.id FROM sync.opportunities o WHERE {conditions.text}
ORDER BY {opportunities.CLOSES}, id LIMIT 51
"""  # noqa: S608 - made of constants
                rows = await fetch_within(connection, finding, *conditions.values)
            print(f"\n{name}, {what}:", *(row[0] for row in rows), sep="\n  ")


async def run(servers: Trio, number: int, repeat: int, *, plans: bool) -> None:
    """All of it."""
    settings = DatabaseSettings(database_url=servers.postgres.url)
    await asyncio.to_thread(upgrade, settings)
    async with (
        connect(settings, "bench-owner", role=None) as owner,
        connect(settings, "bench", role=SYNC.role) as service,
    ):
        await fill(owner, number)
        await search_bench(owner, service, repeat)
        if plans:
            await show_plans(service)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--opportunities", type=int, default=200_000)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--plans", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, trio(Path(name)) as servers:
        uvloop.run(run(servers, arguments.opportunities, arguments.searches, plans=arguments.plans))


if __name__ == "__main__":
    main()
