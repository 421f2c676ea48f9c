"""The mailer is told of what has moved, together with the move or not at all."""

from typing import Any

import pytest

from libs.common.db import fetch_within
from tests.searching import Library, in_days

JOBS = "SELECT tenant, payload, state FROM ledger.jobs WHERE queue = 'mailer' AND kind = 'moved' ORDER BY id"


async def told(owner: Any) -> list[tuple[str, list[dict[str, Any]]]]:
    """What the mailer is told, by tenant."""
    return [(row[0], row[1]["moved"]) for row in await owner.fetch(JOBS)]


@pytest.fixture
async def followed(library: Library) -> Library:
    await library.add("a", "Dredging", url="https://a.test", agency="Port", closes_at=in_days(3))
    return library


async def test_a_moved_date_is_told_with_its_variables(followed: Library, gateway_database: Any) -> None:
    await followed.move("a", closes_at=in_days(5))
    ((tenant, moved),) = await told(gateway_database)
    assert tenant == "acme"
    assert moved == [
        {
            "follows": followed.ids["a"],
            "revision": 2,
            "due_at": in_days(5).isoformat().replace("+00:00", "Z"),
            "variables": {"title": "Dredging", "url": "https://a.test", "agency": "Port", "closes_on": None},
            "is_gone": False,
        }
    ]


async def test_what_is_gone_has_no_date(followed: Library, gateway_database: Any) -> None:
    await followed.move("a", whats="gone", gone_at=in_days(0))
    await followed.move("a", whats="returned", gone_at=None)
    moved = [one for _, (one,) in await told(gateway_database)]
    assert [(one["due_at"] is None, one["is_gone"]) for one in moved] == [(True, True), (False, False)]


async def test_nobody_is_told_of_what_is_new_or_shows_in_no_reminder(
    followed: Library, gateway_database: Any
) -> None:
    await followed.move("a", whats="inserted")
    await followed.move("a", amount_min=None)
    assert await told(gateway_database) == []


async def test_the_move_and_the_telling_are_one(followed: Library, gateway_database: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        await _fail(followed)
    assert await told(gateway_database) == []
    assert (await followed.search())["opportunities"][0]["revision"] == 1


async def _fail(library: Library) -> None:
    async with library.database.begin(tenant="acme") as connection:
        await library.move_within(connection, "a", title="Other")
        ((role, tenant),) = await fetch_within(connection, "SELECT current_user, current_setting('argosy.tenant')")
        assert (role, tenant) == ("argosy_sync_tenant", "acme"), "the transaction is the tenant's again"
        raise ZeroDivisionError


async def test_another_tenants_opportunity_is_not_told(followed: Library, gateway_database: Any) -> None:
    others = followed.of("another")
    others.ids.update(followed.ids)
    await others.move("a", title="Theirs")
    assert [moved for _, moved in await told(gateway_database)] in ([], [[]])
