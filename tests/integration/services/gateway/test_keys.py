"""python -m services.gateway.keys: the first key of an environment."""

import asyncio
import os
import sys
from typing import Any

import pytest

from libs.common.db import Database
from services.gateway import keys
from services.gateway.identity.key_format import parse_key, secret_hash
from services.gateway.identity.scopes import OPERATOR, ROLES, Role
from tests.integration.services.gateway.live import ROOT


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    """What the command reads; it needs the database only."""
    unused = {"NATS_URL": "nats://nowhere", "BLOB_URL": "file:///nowhere", "TRUSTED_PROXIES": "none"}
    return unused | {"DATABASE_URL": database_url, "GATEWAY_ENV": "staging"}


async def kept(database: Database, printed: str) -> Any:
    """What the database has of the key that was printed."""
    parsed = parse_key(printed.removesuffix("\n"))
    assert parsed is not None, "the key, and nothing else"
    assert parsed.env == "staging"
    (row,) = await database.fetch("SELECT tenant, name, role, scopes, id, secret_sha256 FROM identity.keys")
    assert tuple(row[4:]) == (parsed.id, secret_hash(parsed.secret))
    return tuple(row[:4])


async def test_the_operators_key_is_printed_and_may_manage_the_fleet(
    database: Database, environment: dict[str, str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway.keys", "acme", "--operator",
        cwd=ROOT, env=os.environ | environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0
    scopes = sorted(ROLES[Role.ADMIN] | OPERATOR)
    assert await kept(database, printed.decode()) == ("acme", "first", "admin", scopes)


async def test_any_other_key_may_what_its_role_may(
    database: Database,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    await keys._main("acme", "grafana", Role.READ, False)
    assert await kept(database, capsys.readouterr().out) == ("acme", "grafana", "read", None)


async def test_the_command_keeps_to_the_maximum_and_says_what_to_do(
    database: Database, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (environment | {"GATEWAY_MAX_KEYS": "1"}).items():
        monkeypatch.setenv(name, value)
    await keys._main("acme", "first", Role.ADMIN, False)
    with pytest.raises(SystemExit, match="GATEWAY_MAX_KEYS"):
        await keys._main("acme", "second", Role.ADMIN, True)
    assert [row["name"] for row in await database.fetch("SELECT name FROM identity.keys")] == ["first"]
