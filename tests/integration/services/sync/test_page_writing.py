"""What a page lists is written once, and what of it does not pass is told."""

from libs.common import metrics
from services.sync.runs import OUTCOMES
from tests.syncing import Syncer, listing


def measured() -> dict[str, float]:
    return {outcome: metrics.sync_records.labels(outcome)._value.get() for outcome in OUTCOMES}


async def test_metrics_grow_as_the_counters_of_a_run(syncer: Syncer) -> None:
    source = await syncer.source(complete=True, max_gone_ratio=1)
    changed = [*listing(1, 2), *listing(3, title="new"), {"id": "bad"}]
    for records in (listing(1, 2, 3, 4), changed, listing(*range(1, 5))):
        before = measured()
        result = await syncer.sync(source, records)
        grown = {outcome: after - before[outcome] for outcome, after in measured().items()}
        assert {outcome: number for outcome, number in grown.items() if number} == {
            outcome: result[outcome] for outcome in OUTCOMES if outcome in result
        }
        assert any(grown.values())


async def test_a_key_that_comes_again_counts_once_and_the_last_one_is_right(syncer: Syncer) -> None:
    source = await syncer.source()
    many = [*listing(0, title="first"), *listing(*range(1, 2500)), *listing(0, title="last")]
    for expected in ({"inserted": 2500}, {"unchanged": 2500}):
        assert await syncer.sync(source, many) == {"pages": 1, "records": 2501, "repeated": 1, **expected}
        assert (await syncer.rows())["g0"]["title"] == "last"
    assert len(await syncer.history()) == 2500


async def test_a_mapping_that_fits_badly_fails_the_run_and_nothing_is_gone(syncer: Syncer) -> None:
    source = await syncer.source()
    await syncer.sync(source, listing(1, 2, 3))
    error = await syncer.sync(source, [*listing(1), {"id": "g2"}, {"id": "g5"}], fails=True)
    assert error["code"] == "mapping_fits_badly"
    assert [row["gone_at"] for row in (await syncer.rows()).values()] == [None] * 3
