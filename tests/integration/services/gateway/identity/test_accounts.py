"""Accounts: passwords that are kept as hashes, and guessed."""

import pytest

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
