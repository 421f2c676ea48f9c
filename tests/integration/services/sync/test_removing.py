"""What a deleted source listed goes, and whoever follows it is told in the same transaction."""

from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.sync import HousekeepingPayload
from services.sync import removing, sources
from tests.syncing import Syncer, listing

TOLD = "SELECT payload FROM ledger.jobs WHERE queue = 'mailer' AND kind = 'moved' ORDER BY id"


async def told(syncer: Syncer) -> list[dict[str, Any]]:
    """Everything that the mailer was told."""
    return [one for (payload,) in await syncer.gateway.fetch(TOLD) for one in payload["moved"]]


async def listed(syncer: Syncer, *numbers: int) -> UUID:
    """A source that lists these."""
    source = await syncer.source(max_gone_ratio=1)
    await syncer.sync(source, listing(*numbers))
    return source


async def test_who_follows_is_told_that_it_is_gone(syncer: Syncer) -> None:
    source = await listed(syncer, 1, 2)
    await syncer.sync(source, listing(1))
    ids = {key: row["id"].replace("-", "") for key, row in (await syncer.rows()).items()}
    (before,) = await told(syncer)
    assert before["follows"] == f"opp_{ids['g2']}"
    await syncer.ask("delete_source", name="grants")
    _, after = await told(syncer)  # of what had gone before they know
    assert after == {
        "follows": f"opp_{ids['g1']}",
        "revision": 2,
        "due_at": None,
        "variables": {"title": "Grant 1", "url": None, "agency": None, "closes_on": "2030-01-02"},
        "is_gone": True,
    }


async def test_what_was_too_much_for_a_request_is_told_at_night(
    syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_DELETES_FOR_S", 0.0)
    await listed(syncer, 1, 2, 3)
    kept = await syncer.source("kept", "beta", url="https://beta.example/")
    await syncer.sync(kept, listing(1), url="https://beta.example/", tenant="beta")
    await syncer.ask("delete_source", name="grants")
    assert len(await syncer.rows()) == 3
    await syncer.run(HousekeepingPayload(), tenant="argosy")
    assert await syncer.rows() == {}
    assert len(await syncer.rows("beta")) == 1
    assert sorted(one["variables"]["title"] for one in await told(syncer)) == ["Grant 1", "Grant 2", "Grant 3"]


async def test_it_goes_and_is_told_together_or_not_at_all(syncer: Syncer, monkeypatch: pytest.MonkeyPatch) -> None:
    source = await listed(syncer, 1)

    async def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(removing, "tell_of_removed", fail)
    with pytest.raises(ZeroDivisionError):
        await removing.remove_some(syncer.database, "acme", source)
    assert len(await syncer.rows()) == 1
    monkeypatch.undo()
    assert await removing.remove_some(syncer.database, "acme", source)
    assert not await removing.remove_some(syncer.database, "acme", source)
    assert len(await told(syncer)) == 1
