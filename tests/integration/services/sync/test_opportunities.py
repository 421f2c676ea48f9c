"""What is read by id is the tenant's, and in the order in which it was asked for."""

import uuid

import pytest

from services.sync import opportunities
from services.sync.refusals import NotFound
from tests.searching import Library


async def test_rows_come_in_the_order_of_their_ids_and_of_one_tenant(library: Library) -> None:
    others = library.of("another")
    wanted = [await library.add("b"), await others.add("theirs"), await library.add("a")]
    ids = [uuid.uuid4(), *(opportunities.parsed_id(text) for text in wanted)]
    async with library.database.begin(tenant="acme") as connection:
        found = await opportunities.read(connection, ids, ("title",))
        names = await opportunities.source_names(connection, [await library.source(), await others.source()])
    assert [one["id"] for one in found] == [wanted[0], wanted[2]]
    assert list(names.values()) == ["harbour"]


async def test_one_has_all_its_fields_and_what_was_received(library: Library) -> None:
    id_ = opportunities.parsed_id(await library.add("a", summary="x" * 500))
    found = await opportunities.get(library.database, "acme", id_)
    assert (found["raw"], found["source"], len(found["summary"])) == ({"key": "a"}, "harbour", 500)
    for tenant, unknown in (("another", id_), ("acme", uuid.uuid4())):
        with pytest.raises(NotFound):
            await opportunities.get(library.database, tenant, unknown)
        with pytest.raises(NotFound):
            await opportunities.history(library.database, tenant, unknown, None, 10)


@pytest.mark.parametrize("text", ["", "opp_", "opp_1", "job_" + "0" * 32, "opp_" + "0" * 31 + "é"])
def test_what_is_no_id_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        opportunities.parsed_id(text)
