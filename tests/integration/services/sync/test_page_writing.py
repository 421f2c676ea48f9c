"""What a page lists is written once, and what of it does not pass is told."""

from tests.syncing import Syncer, listing


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
