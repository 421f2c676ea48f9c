"""Opening connections: which of several hosts, who is refused for good, and what a pooler may not do."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deploy.local import servers as embedded
from deploy.local.test_servers import Trio, free_port, running
from libs.common.db_opening import HEAD_START_S, SILENT_AFTER_S, Driver, Servers, check_role, share_sessions
from libs.common.errors import Misconfigured

PATIENCE_S = 60.0


def opening(url: str, **settings: str) -> Servers:
    return Servers(url, settings, timeout_s=PATIENCE_S)


def place_of(url: str) -> str:
    return url.rpartition("@")[2].partition("/")[0]


def before(url: str, place: str) -> str:
    """`url` with another host before its own."""
    login, _, rest = url.rpartition("@")
    return f"{login}@{place},{rest}"


async def name_of(driver: Driver) -> str:
    (row,) = await driver.fetch("SELECT current_database()")
    await driver.leave()
    return str(row[0])


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that takes connections and says nothing."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def test_a_silent_first_host_costs_its_head_start_only(database_url: str, silent: str) -> None:
    driver = await Servers(before(database_url, silent), {}, timeout_s=HEAD_START_S + PATIENCE_S).open()
    assert await name_of(driver) == database_url.rpartition("/")[2]


async def test_the_host_that_served_last_is_asked_first(database_url: str, silent: str) -> None:
    several = opening(before(database_url, silent))
    for first in (silent, place_of(database_url)):
        assert place_of(several._urls[0]) == first
        await name_of(await several.open())


async def test_a_host_that_is_down_costs_nothing(database_url: str) -> None:
    driver = await opening(before(database_url, f"127.0.0.1:{free_port()}")).open()
    assert await name_of(driver) == database_url.rpartition("/")[2]


async def test_silent_hosts_alone_end_with_the_timeout(database_url: str, silent: str) -> None:
    login = database_url.rpartition("@")[0]
    with pytest.raises(TimeoutError):
        await Servers(f"{login}@{silent},{silent}/postgres", {}, timeout_s=HEAD_START_S / 2).open()


async def test_a_host_that_takes_no_writes_is_passed_over(servers: Trio, tmp_path: Path) -> None:
    password = servers.postgres.url.partition("//argosy:")[2].partition("@")[0]
    standby = embedded.postgres(
        tmp_path / "standby", free_port(), password, "shared_buffers=32MB", "default_transaction_read_only=on"
    )
    with running(standby, tmp_path):
        driver = await opening(before(servers.postgres.url, place_of(standby.url))).open()
        (row,) = await driver.fetch("SELECT inet_server_port()")
        await driver.leave()
        assert f"127.0.0.1:{row[0]}" == place_of(servers.postgres.url)
        with pytest.raises(Exception, match="read-write"):
            await opening(standby.url).open()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("//argosy:", "//argosy:x"), "password authentication failed"),
        (("//argosy:", "//nobody:"), "password authentication failed"),
        (("/postgres", "/elsewhere"), 'database "elsewhere" does not exist'),
        (("postgresql:", "mysql:"), "cannot be read"),
        (("/postgres", ":x/postgres"), "cannot be read"),
    ],
)
async def test_what_no_retry_mends_is_refused(servers: Trio, change: tuple[str, str], words: str) -> None:
    url = servers.postgres.url.replace(*change)
    with pytest.raises(Misconfigured, match=words) as refused:
        await opening(url).open()
    assert servers.postgres.url.partition("//argosy:")[2].partition("@")[0] not in str(refused.value)


async def test_a_role_that_was_dropped_on_the_way_is_refused(servers: Trio) -> None:
    driver = await opening(servers.postgres.url).open()
    (row,) = await driver.fetch("SELECT current_user::text")
    await driver.leave()
    check_role(row[0], None)
    check_role(row[0], "argosy")
    with pytest.raises(Misconfigured, match="has made this process argosy, not argosy_ocr"):
        check_role(row[0], "argosy_ocr")


async def test_sessions_that_are_shared_are_told_from_those_that_are_not(servers: Trio) -> None:
    first, second = await opening(servers.postgres.url).open(), await opening(servers.postgres.url).open()
    assert not await share_sessions(first, second)
    assert await share_sessions(first, first), "as when a pooler gives the same one to both"
    await first.leave()
    await second.leave()


async def test_the_system_notices_a_silent_network(servers: Trio) -> None:
    driver = await opening(servers.postgres.url).open()
    connection = driver._transport.get_extra_info("socket")
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == SILENT_AFTER_S * 1000
    await driver.leave()
