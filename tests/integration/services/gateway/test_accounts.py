"""python -m services.gateway.accounts: an account, with a password from standard input."""

import asyncio
import os
import sys

import pytest

from libs.common.db import Database
from services.gateway import accounts
from services.gateway.identity.accounts import PASSWORD_AT_LEAST, PASSWORD_AT_MOST, verify
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.live import ROOT

UNUSED = {"NATS_URL": "nats://nowhere", "BLOB_URL": "file:///nowhere"}


async def made(database_url: str, password: str, *arguments: str) -> tuple[int | None, str]:
    """How the command ends, and everything it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway.accounts", *arguments,
        cwd=ROOT, env=os.environ | UNUSED | {"DATABASE_URL": database_url},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate(password.encode() + b"\n")
    return process.returncode, output.decode()


async def test_an_account_is_made_and_given_a_new_password(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = "correct horse battery", "staple of the second kind"
    code, printed = await made(database_url, first, "acme", "Ann@Example.com")
    assert (code, first in printed) == (0, False)
    identity = await verify(database, "ann@example.com", first)
    assert identity is not None
    assert (identity.tenant, identity.role) == ("acme", Role.MEMBER)
    for name, value in (UNUSED | {"DATABASE_URL": database_url}).items():
        monkeypatch.setenv(name, value)
    await accounts._main("acme", "ann@example.com", Role.ADMIN, second)
    assert await verify(database, "ann@example.com", second) == identity._replace(role=Role.ADMIN)
    assert await verify(database, "ann@example.com", first) is None


@pytest.mark.parametrize("length", [PASSWORD_AT_LEAST - 1, PASSWORD_AT_MOST + 1])
async def test_a_password_is_neither_short_nor_endless(database: Database, database_url: str, length: int) -> None:
    code, printed = await made(database_url, "x" * length, "acme", "ann@example.com")
    assert code == 1
    assert f"{PASSWORD_AT_LEAST} to {PASSWORD_AT_MOST}" in printed
    assert await database.fetch("SELECT FROM identity.accounts") == []
