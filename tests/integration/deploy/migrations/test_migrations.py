"""The migrations make exactly the tables the code describes."""

import asyncio
import os
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from deploy.local.test_servers import Trio, answers
from libs.common.db import Database
from libs.common.ledger import tables as ledger
from services.gateway.identity import tables as identity
from services.ocr import tables as ocr
from tests.network import Network
from tests.polling import until


@pytest.mark.parametrize("metadata", [ledger.metadata, identity.metadata, ocr.metadata], ids=lambda m: m.schema)
async def test_the_database_is_what_the_code_says(database: Database, metadata: MetaData) -> None:
    def differences(connection: Connection) -> list[Any]:
        def ours(name: str | None, kind: str, _parents: object) -> bool:
            return kind != "schema" or name == metadata.schema

        options = {"include_schemas": True, "include_name": ours, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.begin() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_database_that_still_recovers_is_waited_for(servers: Trio, database: Database) -> None:
    """Nobody takes it for ready, and migrations wait."""
    tries = 0

    async def starting_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        await reader.read(4096)
        said = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
        writer.write(b"E" + (len(said) + 4).to_bytes(4, "big") + said)
        writer.close()
        tries += 1

    async def tried() -> bool:
        return tries >= 3

    await database.fetch("CREATE DATABASE recovered")
    recovering = await asyncio.start_server(starting_up, "127.0.0.1", 0)
    port = recovering.sockets[0].getsockname()[1]
    parts = urlsplit(servers.postgres.url)
    url = parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}", path="/recovered").geturl()
    assert not await asyncio.to_thread(answers, url)
    environment = os.environ | {"DATABASE_URL": url}
    migrating = await asyncio.create_subprocess_exec(sys.executable, "-m", "deploy.migrations", env=environment)
    await until(tried)
    recovering.close()
    await recovering.wait_closed()
    async with Network(servers.postgres.url).open(port=port):
        assert await migrating.wait() == 0
    await database.fetch("DROP DATABASE recovered WITH (FORCE)")
    assert await asyncio.to_thread(answers, servers.postgres.url)


async def test_migrating_twice_at_once_is_safe(servers: Trio, database: Database) -> None:
    await database.fetch("CREATE DATABASE fresh")
    url = servers.postgres.url.rpartition("/")[0] + "/fresh"
    environment = os.environ | {"DATABASE_URL": url}
    command = [sys.executable, "-m", "deploy.migrations"]
    runs = [await asyncio.create_subprocess_exec(*command, env=environment) for _ in range(2)]
    assert [await run.wait() for run in runs] == [0, 0]
    await database.fetch("DROP DATABASE fresh WITH (FORCE)")
