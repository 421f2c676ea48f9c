"""Accounts: passwords that are kept as hashes, and guessed."""

import pytest

from libs.common.db import Database
from services.gateway.identity import accounts
from services.gateway.identity.accounts import enter
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway

PASSWORD = "correct horse battery"  # noqa: S105


async def test_s11_an_unknown_account_costs_as_much_as_a_wrong_password(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enter(gateway.database, "acme", "ann@example.com", Role.MEMBER, PASSWORD)
    hashed: list[str] = []
    verify = accounts._matches

    async def counted(stored: str, password: str) -> bool:
        hashed.append(stored.rsplit("$", 2)[0])
        return await verify(stored, password)

    monkeypatch.setattr(accounts, "_matches", counted)
    for email in ("ann@example.com", "bob@example.com"):
        body = {"email": email, "password": "wrong"}
        assert (await gateway.anonymous().post("/v1/auth/token", json=body)).status_code == 401
    assert len(hashed) == 2
    assert hashed[0] == hashed[1], "the same work: one hash, with the same parameters"


async def test_a_right_password_opens_only_its_own_account(database: Database) -> None:
    await enter(database, "acme", "ann@example.com", Role.ADMIN, PASSWORD)
    await enter(database, "blue", "bob@example.com", Role.READ, "another horse battery")
    identity = await accounts.verify(database, "ann@example.com", PASSWORD)
    assert identity is not None
    assert (identity.tenant, identity.role) == ("acme", Role.ADMIN)
    assert identity.user.startswith("account:")
    for email, password in (
        ("bob@example.com", PASSWORD),
        ("eve@example.com", PASSWORD),
        ("ann@example.com", PASSWORD.upper()),
        ("ann@example.com", ""),
    ):
        assert await accounts.verify(database, email, password) is None


async def test_a_disabled_account_or_a_broken_hash_opens_nothing(database: Database) -> None:
    await enter(database, "acme", "ann@example.com", Role.MEMBER, PASSWORD)
    await database.fetch("UPDATE identity.accounts SET disabled_at = now()")
    assert await accounts.verify(database, "ann@example.com", PASSWORD) is None
    await database.fetch("UPDATE identity.accounts SET disabled_at = NULL, password = 'plain'")
    assert await accounts.verify(database, "ann@example.com", "plain") is None


async def test_equal_passwords_have_different_hashes(database: Database) -> None:
    for name in ("ann", "bob"):
        await enter(database, "acme", f"{name}@example.com", Role.MEMBER, PASSWORD)
    rows = await database.fetch("SELECT password FROM identity.accounts")
    assert len({row[0] for row in rows}) == 2


def test_an_unknown_account_costs_as_much_as_a_known_one() -> None:
    assert not accounts._HASHER.check_needs_rehash(accounts._NOBODY), "other parameters take another time"
