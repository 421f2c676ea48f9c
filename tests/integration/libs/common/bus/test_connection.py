"""Servers that are silent, gone or refuse, as they are in production: what the connection makes of them."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from deploy.local import servers as embedded
from deploy.local.servers import write_secret
from deploy.local.test_servers import Trio, free_port
from libs.common import bus
from libs.common.bus import Bus
from libs.common.config import BusSettings
from libs.common.errors import Misconfigured, Unavailable
from tests.nats_cluster import nats_cluster
from tests.network import Network
from tests.polling import until
from tests.server_process import ServerProcess

MORE_THAN_SOCKETS_HOLD = 64
"""Megabytes: so much that the client cannot send all of it over a silent network."""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Bus]:
    """A bus that has been connected."""
    async with bus.connect(BusSettings.model_validate({"nats_url": url}), "test") as found:
        await found._nats.established.wait()
        yield found


def port_of(found: Bus) -> int | None:
    """The port of the server that the bus is connected to."""
    url = found._nats.connected_url
    return None if url is None else url.port


async def _moved(found: Bus, before: int | None) -> None:
    """Wait until the bus is connected to another port than `before`, and knows it."""

    async def moved() -> bool:
        return found.connected and port_of(found) != before and found.epoch > 0

    await until(moved)


@pytest.mark.parametrize("unsent_mb", [0, MORE_THAN_SOCKETS_HOLD])
async def test_a_silent_connection_is_left_for_another_server(servers: Trio, unsent_mb: int) -> None:
    """Also by who asks for nothing, and by who cannot send what it has written."""
    async with (
        Network(servers.nats.url).open() as one,
        Network(servers.nats.url).open() as other,
        connected(f"{one.url},{other.url}") as found,
    ):
        networks = {int(network.url.rpartition(":")[2]): network for network in (one, other)}
        before = port_of(found)
        assert before is not None
        networks[before].hold_up()
        for _ in range(unsent_mb):
            await found.publish("nobody", bytes(1_000_000))
        await _moved(found, before)
        assert found.epoch == 1


async def test_a_frozen_server_is_left_for_another_of_its_cluster_that_was_not_in_the_list(tmp_path: Path) -> None:
    """The cluster has told of it, and the login is good there too."""
    with nats_cluster(tmp_path) as members:
        first = members[0]
        async with connected(first.server.url) as found:
            before = port_of(found)
            first.send(signal.SIGSTOP)
            await _moved(found, before)
            heard = asyncio.Event()
            async with found.listening("word", lambda _: heard.set()):
                await found.publish("word", b"")
                async with asyncio.timeout(60):
                    await heard.wait()


async def test_a_server_whose_jetstream_does_not_answer_is_left(servers: Trio) -> None:
    """Here because the user may not ask: the server answers pings, but not these requests."""
    url = servers.nats.url.replace("//argosy:", "//gateway:")
    password = embedded.password_of("gateway", url.partition("gateway:")[2].partition("@")[0])
    settings = {"nats_url": f"nats://gateway:{password}@{url.partition('@')[2]}"}
    async with bus.connect(BusSettings.model_validate(settings), "gateway") as found:
        await found._nats.established.wait()

        async def left() -> bool:
            with suppress(Unavailable):
                await found.stream_state("of_nobody")
            return found.epoch > 0

        await until(left)


async def test_one_server_of_a_list_is_enough(servers: Trio) -> None:
    nowhere = f"nats://127.0.0.1:{free_port()}"
    for urls in (f"{nowhere}, {servers.nats.url}", f"{servers.nats.url},{nowhere}"):
        async with connected(urls) as found:
            assert found.connected


async def test_a_wrong_password_ends_the_block(servers: Trio) -> None:
    place = servers.nats.url.partition("@")[2]
    settings = BusSettings.model_validate({"nats_url": f"nats://argosy:wr0ng@{place}"})
    with pytest.raises(Misconfigured, match=f"NATS_URL: {place} refuses") as refused:
        async with bus.connect(settings, "test"), asyncio.timeout(60):
            await asyncio.Event().wait()
    assert "wr0ng" not in str(refused.value)


async def test_a_password_that_was_changed_is_tried_again_until_it_is_good(tmp_path: Path) -> None:
    server = ServerProcess(embedded.nats(tmp_path, free_port(), "secret"), tmp_path)
    server.start()
    try:
        async with connected(server.server.url) as found:
            _configure(server, server.server.configuration.replace("secret", "changed"))

            async def refused() -> bool:
                return "authorization violation" in found._nats._told.lower()

            await until(refused)
            _configure(server, server.server.configuration)

            async def back() -> bool:
                return found.connected and found.epoch > 0

            await until(back)
    finally:
        server.stop(signal.SIGKILL)


def _configure(server: ServerProcess, text: str) -> None:
    """Let a server that runs read another configuration."""
    write_secret(Path(server.server.command[-1]), text)
    server.send(signal.SIGHUP)
