"""What a tenant makes: once for each Idempotency-Key, and one at a time."""

import asyncio

import pytest

from libs.common.db import Database
from libs.common.ledger.making import MadeBefore, Once, OtherRequest, forget, making, remember

ONE = Once("key", b"what it says")


async def make(
    database: Database, made: str, once: Once | None = ONE, *, tenant: str = "dev", kind: str = "x"
) -> str:
    """The id of what has been made, now or before."""
    try:
        async with making(database, tenant, kind, once) as connection:
            await asyncio.sleep(0)
            await remember(connection, tenant, once, made)
    except MadeBefore as before:
        return before.made
    return made


async def test_what_comes_at_once_is_made_once(gateway_database: Database) -> None:
    made = await asyncio.gather(*(make(gateway_database, str(number)) for number in range(9)))
    assert len(set(made)) == 1
    assert await make(gateway_database, "later") == made[0]
    assert await make(gateway_database, "theirs", tenant="other") == "theirs"
    assert await make(gateway_database, "without", None) == "without"


async def test_another_request_with_the_key_is_told(gateway_database: Database) -> None:
    await make(gateway_database, "1")
    for kind in ("x", "y"):
        with pytest.raises(OtherRequest):
            await make(gateway_database, "2", Once("key", b"something else"), kind=kind)


async def test_requests_of_two_kinds_with_one_key_at_once_make_one_thing(gateway_database: Database) -> None:
    kinds = {kind: Once("key", kind.encode()) for kind in "abcdef"}
    made = await asyncio.gather(
        *(make(gateway_database, kind, once, kind=kind) for kind, once in kinds.items()), return_exceptions=True
    )
    assert [type(result) for result in made].count(OtherRequest) == 5


async def test_what_fails_is_not_remembered(gateway_database: Database) -> None:
    async def fail() -> None:
        async with making(gateway_database, "dev", "x", ONE) as connection:
            await remember(connection, "dev", ONE, "1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await make(gateway_database, "2") == "2"


async def test_a_request_is_forgotten_after_a_while(gateway_database: Database, database: Database) -> None:
    for number in range(3):
        await make(gateway_database, str(number), Once(f"key {number}", b"x"))
    await database.fetch(
        "UPDATE ledger.idempotency SET created_at = created_at - interval '31 days' WHERE made < '2'"
    )
    assert await forget(gateway_database, older_than_s=30 * 86_400.0, limit=1) == 1
    assert await forget(gateway_database, older_than_s=30 * 86_400.0, limit=9) == 1
    assert await make(gateway_database, "again", Once("key 0", b"other")) == "again"
    assert await make(gateway_database, "again", Once("key 2", b"x")) == "2"
