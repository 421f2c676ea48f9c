"""What is no longer listed has gone, unless too much would be."""

import pytest

from tests.syncing import Syncer, listing


async def test_a_record_that_no_longer_passes_is_not_gone(syncer: Syncer) -> None:
    source = await syncer.source()
    await syncer.sync(source, listing(1, 2, 3))
    assert await syncer.sync(source, [*listing(1, 2), *listing(3, closes="soon")]) == {
        "pages": 1, "records": 3, "unchanged": 2, "rejected": 1,
    }  # fmt: skip
    assert (await syncer.rows())["g3"]["gone_at"] is None


@pytest.mark.parametrize("left", [0, 8])
async def test_a_list_that_shrinks_too_much_removes_nothing(syncer: Syncer, left: int) -> None:
    source = await syncer.source()
    await syncer.sync(source, listing(*range(20)))
    error = await syncer.sync(source, listing(*range(left)), fails=True)
    assert error["code"] == "suspicious_shrink"
    assert error["message"].startswith(f"{20 - left} of 20 ")
    assert all(row["gone_at"] is None for row in (await syncer.rows()).values())
    assert (await syncer.sync(source, listing(*range(left)), accept_shrink=True))["gone"] == 20 - left


async def test_without_complete_nothing_goes(syncer: Syncer) -> None:
    source = await syncer.source(complete=False)
    await syncer.sync(source, listing(1, 2, 3))
    assert "gone" not in await syncer.sync(source, listing(1))
