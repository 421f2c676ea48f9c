"""A preview tells what a run would do, and writes nothing."""

from libs.common.contracts.sync import PreviewPayload
from tests.syncing import Syncer, listing

URL = "https://example.org/grants.json"


async def test_a_preview_tells_what_would_change_and_writes_nothing(syncer: Syncer) -> None:
    source = await syncer.source()
    await syncer.sync(source, listing(1, 2))
    before = await syncer.rows(), await syncer.history()
    changed = listing(2, title="Water", text="x" * 5_000)
    syncer.shelf.listed[URL] = [[*listing(1), *changed, *listing(3), {"id": "g4"}], listing(5)]
    told = await syncer.run(PreviewPayload(source=source))
    assert [(one["key"], one["would_be"], sorted(one["changed"])) for one in told["records"]] == [
        ("g1", "unchanged", []), ("g2", "updated", ["summary", "title"]), ("g3", "inserted", []),
    ]  # fmt: skip
    assert told["records"][1]["changed"]["title"] == ["Grant 2", "Water"]
    assert len(told["records"][1]["summary"]) == 300
    assert [(one["key"], one["field"], one["raw"]) for one in told["rejected"]] == [("g4", "title", {"id": "g4"})]
    assert (told["passed"], told["did_not_pass"], told["is_last_page"]) == (3, 1, False)
    assert (await syncer.rows(), await syncer.history()) == before


async def test_a_preview_of_many_shows_twenty(syncer: Syncer) -> None:
    source = await syncer.source()
    syncer.shelf.listed[URL] = [listing(*range(50))]
    told = await syncer.run(PreviewPayload(source=source))
    assert (len(told["records"]), told["passed"], told["is_last_page"]) == (20, 50, True)
