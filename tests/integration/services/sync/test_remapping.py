"""What is kept is mapped anew, and nothing is fetched for it."""

from libs.common.contracts.sync import RemapPayload, ReplayPayload
from tests.syncing import MAPPING, Syncer, listing


async def test_what_does_not_pass_is_kept_and_can_be_replayed(syncer: Syncer) -> None:
    source = await syncer.source()
    records = [*listing(1, 2, 3), {"id": "g4", "name": "Grant 4"}]
    assert await syncer.sync(source, records) == {"pages": 1, "records": 4, "inserted": 3, "rejected": 1}
    (told,) = (await syncer.ask("list_rejected", name="grants", after=None, limit=10))["rejected"]
    assert (told["key"], told["field"], told["raw"]) == ("g4", "title", records[-1])
    await syncer.source(mapping=MAPPING | {"title": "title || name"})
    result = await syncer.run(ReplayPayload(source=source))
    assert (result["inserted"], result["rejected"]) == (1, 0)
    assert (await syncer.rows())["g4"]["title"] == "Grant 4"
    assert (await syncer.ask("list_rejected", name="grants", after=None, limit=10))["rejected"] == []


async def test_a_changed_mapping_maps_what_is_kept_anew_without_a_fetch(syncer: Syncer) -> None:
    source = await syncer.source()
    await syncer.sync(source, listing(1, 2, name="Other"))
    asked = len(syncer.shelf.asked)
    await syncer.source(mapping=MAPPING | {"title": "name"})
    assert (await syncer.ask("get_source", name="grants"))["remap"] is True
    result = await syncer.run(RemapPayload(source=source))
    assert (result["updated"], len(syncer.shelf.asked)) == (2, asked)
    assert {row["title"] for row in (await syncer.rows()).values()} == {"Other"}
    assert (await syncer.ask("get_source", name="grants"))["remap"] is False
    assert (await syncer.run(RemapPayload(source=source)))["records"] == 0
