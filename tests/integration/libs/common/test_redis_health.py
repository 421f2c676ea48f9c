"""A real Redis that answers, but is of no use."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from deploy.local import servers as embedded
from deploy.local.servers import write_secret
from deploy.local.settings import NEED_REDIS
from deploy.local.test_servers import free_port
from libs.common.bus import Bus
from libs.common.redis_health import RedisHealth
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.outages import Mode
from services.mailer.smtp.pacing import Pacer, Rate, Rates
from tests.integration.services.gateway.limits.charging import PATIENT_S
from tests.polling import until
from tests.server_process import ServerProcess


async def all_users(admin: Redis, rule: str) -> None:
    """Give or take a right of every service."""
    for service in NEED_REDIS:
        await admin.execute_command("ACL", "SETUSER", service, rule)  # type: ignore[no-untyped-call]


Trouble = Callable[[Redis], Awaitable[object]]
TROUBLES: dict[str, tuple[Trouble, Trouble, str]] = {
    "full": (
        lambda admin: admin.config_set("maxmemory", 1),
        lambda admin: admin.config_set("maxmemory", 0),
        "maxmemory",
    ),
    "replica": (
        lambda admin: admin.execute_command("REPLICAOF", "127.0.0.1", "1"),  # type: ignore[no-untyped-call]
        lambda admin: admin.execute_command("REPLICAOF", "NO", "ONE"),  # type: ignore[no-untyped-call]
        "read only replica",
    ),
    "permissions": (
        lambda admin: all_users(admin, "-info"),
        lambda admin: all_users(admin, "+info"),
        "can't run this command",
    ),
}
"""How each begins, how it ends, and what Redis says of it."""


@asynccontextmanager
async def clients(server: ServerProcess, service: str) -> AsyncIterator[tuple[Redis, Redis]]:
    """One who may do everything, and one as a service has it."""
    async with Redis.from_url(server.server.url) as admin, Redis.from_url(server.server.urls[service]) as client:
        yield admin, client


def told(lines: list[MutableMapping[str, Any]]) -> list[str]:
    """What was logged of Redis."""
    return [line["event"] for line in lines if line["event"].startswith("redis.")]


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_limiter_tells_once_that_redis_is_unusable_and_once_that_it_is_usable(
    redis_server: ServerProcess, nats_bus: Bus, trouble: str
) -> None:
    begin, end, reason = TROUBLES[trouble]
    async with clients(redis_server, "gateway") as (admin, client):
        limiter = Limiter(client, nats_bus, budget_s=PATIENT_S)

        async def checked_in(mode: Mode) -> bool:
            await limiter._outages.check_in()
            return limiter.mode is mode

        with capture_logs() as lines:
            async with limiter.running():
                await until(lambda: checked_in(Mode.SHARED))
                await begin(admin)
                await until(lambda: checked_in(Mode.ALONE))
                for _ in range(3):
                    await limiter._outages.check_in()
                assert _usable("limits") == 0
                await end(admin)
                await until(lambda: checked_in(Mode.SHARED))
                assert _usable("limits") == 1
    assert told(lines) == ["redis.unusable", "redis.usable"]
    (why,) = [line["reason"] for line in lines if line["event"] == "redis.unusable"]
    assert reason in why
    assert str(urlsplit(redis_server.server.urls["gateway"]).password) not in why


@pytest.mark.parametrize("trouble", ["replica", "permissions"])  # a script that has written may fill the memory
async def test_a_mailer_tells_it_too(redis_server: ServerProcess, trouble: str) -> None:
    begin, end, reason = TROUBLES[trouble]
    async with clients(redis_server, "mailer") as (admin, client):
        pacer = Pacer(client, Rates(relay=Rate(1_000_000, 60)))

        async def waits_no_more() -> bool:
            return not await pacer.take(pacer.permit("relay", "dev", "example.com"))

        with capture_logs() as lines:
            await until(waits_no_more)
            await begin(admin)
            for _ in range(3):
                assert not await waits_no_more()
            await end(admin)
            await until(waits_no_more)
    assert told(lines) == ["redis.unusable", "redis.usable"]
    (why,) = [line["reason"] for line in lines if line["event"] == "redis.unusable"]
    assert reason in why


async def test_a_wrong_password_from_the_start_is_told(redis_server: ServerProcess, nats_bus: Bus) -> None:
    place = redis_server.server.url.partition("@")[2]
    async with Redis.from_url(f"redis://:wr0ng@{place}") as client:
        limiter = Limiter(client, nats_bus, budget_s=PATIENT_S)
        with capture_logs() as lines:
            for _ in range(3):
                await limiter._outages.check_in()
    assert told(lines) == ["redis.unusable"]
    (why,) = [line["reason"] for line in lines if line["event"] == "redis.unusable"]
    assert "AuthenticationError" in why
    assert "wr0ng" not in why


async def test_a_cluster_is_named_as_what_it_is(cluster_member: ServerProcess, nats_bus: Bus) -> None:
    async with Redis.from_url(cluster_member.server.url) as client:
        limiter = Limiter(client, nats_bus, budget_s=PATIENT_S)
        with capture_logs() as lines:
            await limiter._outages.check_in()
    (why,) = [line["reason"] for line in lines if line["event"] == "redis.unusable"]
    assert why.startswith("A Redis Cluster cannot be used")


async def test_connections_to_a_primary_that_has_become_a_replica_are_dropped(redis_server: ServerProcess) -> None:
    async with Redis.from_url(redis_server.server.url) as client:
        health, before = RedisHealth(client, "a test"), await client.client_id()
        assert await client.client_id() == before
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
        with pytest.raises(RedisError, match="read only") as refused:
            await client.set("k", "v")
        await health.note_error(refused.value)
        assert await client.client_id() != before


async def test_a_policy_of_eviction_is_warned_about(redis_server: ServerProcess) -> None:
    async with Redis.from_url(redis_server.server.url) as client:
        with capture_logs() as lines:
            keeps = RedisHealth(client, "a test")
            await keeps.note_answer()
            assert (keeps.eviction, told(lines)) == ("noeviction", [])
            await client.config_set("maxmemory-policy", "allkeys-lru")
            forgets = RedisHealth(client, "a test")
            await forgets.note_answer()
            await forgets.note_answer()
    assert forgets.eviction == "allkeys-lru"
    assert told(lines) == ["redis.evicts"]


@pytest.fixture
def cluster_member(tmp_path: Path) -> Iterator[ServerProcess]:
    """A Redis in cluster mode."""
    alone = embedded.redis(tmp_path / "redis", free_port(), embedded.new_password())
    text = alone.configuration + "cluster-enabled yes\n"
    write_secret(Path(alone.command[-1]), text)
    server = ServerProcess(replace(alone, configuration=text), tmp_path)
    server.start()
    yield server
    server.stop(signal.SIGKILL)


def _usable(use: str) -> float | None:
    return REGISTRY.get_sample_value("argosy_redis_usable", {"kind": use})
