"""Rejected records of a source are listed in pages, until everything is read anew."""

from typing import Any

from tests.syncing import Syncer, listing


async def listed(syncer: Syncer, tenant: str = "acme", /, **asked: Any) -> tuple[list[str], int | None]:
    """The keys on a page, and where the next one begins."""
    page = await syncer.ask("list_rejected", tenant, **{"name": "grants", "after": None, "limit": 10} | asked)
    return [one["key"] for one in page["rejected"]], page["next_after"]


async def test_pages_of_one_source(syncer: Syncer) -> None:
    for tenant in ("acme", "beta"):
        source = await syncer.source("grants", tenant)
        await syncer.sync(
            source, [*listing(*range(9)), *({"id": f"{tenant}{n}"} for n in range(3))], tenant=tenant
        )
    keys, after = await listed(syncer, limit=2)
    assert (keys, await listed(syncer, after=after, limit=2)) == (["acme0", "acme1"], (["acme2"], None))
    assert (await listed(syncer, "beta"))[0] == ["beta0", "beta1", "beta2"]


async def test_a_full_run_forgets_those_of_the_runs_before(syncer: Syncer) -> None:
    source = await syncer.source()
    await syncer.sync(source, [*listing(*range(9)), {"id": "old"}])
    await syncer.sync(source, [*listing(*range(9)), {"id": "new"}])
    assert await listed(syncer) == (["new"], None)
