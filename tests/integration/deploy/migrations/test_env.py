"""How migrations reach the database: they wait for a server, and for each other."""

import asyncio
import os
import sys
from urllib.parse import urlsplit

from deploy.local.test_servers import Trio, answers
from libs.common.db import Database
from tests.network import Network
from tests.polling import until


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
