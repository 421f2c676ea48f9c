"""The age of the oldest success is that of sources that are not paused."""

from prometheus_client import REGISTRY

from tests.syncing import Syncer, listing


async def test_the_source_that_waits_longest_counts(syncer: Syncer) -> None:
    old, paused = await syncer.source("old"), await syncer.source("paused")
    await syncer.database.fetch(
        "UPDATE sync.sources SET succeeded_at = now() - CASE WHEN id = $1 THEN interval '1 hour' ELSE '1 day' END,"
        " paused = CASE WHEN id = $2 THEN 'source_missing' END",
        old,
        paused,
    )
    await syncer.sync(await syncer.source("new"), listing(1))
    age = REGISTRY.get_sample_value("argosy_sync_oldest_success_seconds")
    assert age is not None
    assert 3_500 < age < 80_000
