"""The three servers as they are started here: whatever the folder is called, and only with the password."""

import asyncio
from pathlib import Path

import asyncpg
import nats.errors
import pytest
import redis.asyncio
import redis.exceptions
from nats.aio.client import Client

from deploy.local import servers
from deploy.local.test_servers import free_port, running

PASSWORD = "of the server"  # noqa: S105


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with all that configuration files may stumble over."""
    return tmp_path / """it's a "folder" \\ of {mine} # é $x"""


async def test_redis_keeps_what_it_was_told_and_asks_for_the_password(folder: Path, tmp_path: Path) -> None:
    server = servers.redis(folder, free_port(), PASSWORD)
    guess = server.url.replace(servers.password_of("redis", PASSWORD), "guess")
    with running(server, tmp_path):
        async with redis.asyncio.from_url(server.url) as client, redis.asyncio.from_url(guess) as stranger:
            await client.set("a", "kept")
            with pytest.raises(redis.exceptions.AuthenticationError):
                await stranger.get("a")
    again = servers.redis(folder, free_port(), PASSWORD)
    with running(again, tmp_path):
        async with redis.asyncio.from_url(again.url) as client:
            assert await client.get("a") == b"kept"


async def test_nats_keeps_its_data_in_its_folder(folder: Path, tmp_path: Path) -> None:
    server = servers.nats(folder, free_port(), "secret")
    with running(server, tmp_path):
        assert (folder / "data").is_dir()
        client, stranger = Client(), Client()
        await client.connect(server.url)
        await client.close()
        with pytest.raises(nats.errors.Error, match="Authorization"):
            await stranger.connect(server.url.replace("secret", "guess"), allow_reconnect=False)
        await stranger.close()


async def test_a_cluster_that_was_half_made_is_made_anew_and_one_that_is_there_is_kept(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "unfinished" / "base").mkdir(parents=True)
    server = await asyncio.to_thread(servers.postgres, folder, free_port(), "secret")
    assert not (folder / "unfinished").exists()
    assert not (folder / "password").exists()
    with running(server, tmp_path):
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE kept ()")
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url.replace("secret", "guess"))
    again = await asyncio.to_thread(servers.postgres, folder, free_port(), "secret", "fsync=off")
    with running(again, tmp_path):
        connection = await asyncpg.connect(again.url)
        assert await connection.fetchval("SELECT to_regclass('kept') IS NOT NULL")
        assert await connection.fetchval("SHOW fsync") == "off"
        await connection.close()
