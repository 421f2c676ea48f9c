"""What is done to a fleet, each at a random moment while it works. Every fault leaves the fleet able to go on."""

import asyncio
import shutil
import signal
from collections.abc import Awaitable, Callable

import asyncpg

from libs.common.ledger.claim import LEASE_S
from tests.chaos.fleet import LOST, Fleet

PAST_LEASE_S = LEASE_S + 3


async def kill_worker(fleet: Fleet) -> None:
    """SIGKILL in the middle of its jobs."""
    fleet.chance.choice(fleet.workers).signal(signal.SIGKILL)


async def kill_gateway(fleet: Fleet) -> None:
    """SIGKILL while it accepts."""
    fleet.chance.choice(fleet.gateways).signal(signal.SIGKILL)


async def stop_worker(fleet: Fleet) -> None:
    """SIGTERM in the middle of a batch."""
    fleet.chance.choice(fleet.workers).signal(signal.SIGTERM)


async def freeze_worker(fleet: Fleet) -> None:
    """SIGSTOP past its lease: when it goes on, others have had its jobs."""
    zombie = fleet.chance.choice(fleet.workers)
    zombie.signal(signal.SIGSTOP)
    await asyncio.sleep(PAST_LEASE_S)
    zombie.signal(signal.SIGCONT)


async def block_loop(fleet: Fleet) -> None:
    """A job that holds its worker's event loop longer than the lease."""
    await fleet.submit(1, sleep_s=0.0, block_s=PAST_LEASE_S)


async def restart_postgres(fleet: Fleet) -> None:
    """A fast shutdown or a crash (commits that did not wait for the disk may be forgotten), and a start."""
    await asyncio.to_thread(fleet.postgres.stop, fleet.chance.choice([signal.SIGINT, signal.SIGQUIT]))
    await asyncio.sleep(fleet.chance.uniform(0, 2))
    await asyncio.to_thread(fleet.postgres.start)


async def kill_postgres(fleet: Fleet) -> None:
    """SIGKILL, and a start a moment later: what was not written yet is forgotten, as in a crash."""
    await asyncio.to_thread(fleet.postgres.stop, signal.SIGKILL)
    await asyncio.sleep(fleet.chance.uniform(0, 2))
    await asyncio.to_thread(fleet.postgres.start)


async def kill_backends(fleet: Fleet) -> None:
    """Every connection to the ledger is terminated, again and again."""
    for _ in range(10):
        async with fleet.connected() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'argosy-%'"
            )
        await asyncio.sleep(fleet.chance.uniform(0.05, 0.3))


async def exhaust_connections(fleet: Fleet) -> None:
    """Strangers take all of PostgreSQL's connections, and ours are terminated meanwhile."""
    held = []
    try:
        for _ in range(200):
            try:
                held.append(await asyncpg.connect(fleet.database_url, timeout=5))
            except LOST:
                if held:
                    await held[0].execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name LIKE 'argosy-%'"
                    )
                await asyncio.sleep(0.02)
    finally:
        for connection in held:
            connection.terminate()


async def kill_nats(fleet: Fleet) -> None:
    """SIGKILL, and a start a moment later."""
    await asyncio.to_thread(fleet.nats.stop, signal.SIGKILL)
    await asyncio.sleep(fleet.chance.uniform(0, 3))
    await asyncio.to_thread(fleet.nats.start)


async def wipe_nats(fleet: Fleet) -> None:
    """SIGKILL, its data deleted, and a start."""
    await asyncio.to_thread(fleet.nats.stop, signal.SIGKILL)
    shutil.rmtree(fleet.folder / "nats" / "data", ignore_errors=True)
    await asyncio.to_thread(fleet.nats.start)


async def kill_redis(fleet: Fleet) -> None:
    """SIGKILL, and a start a moment later."""
    await asyncio.to_thread(fleet.redis.stop, signal.SIGKILL)
    await asyncio.sleep(fleet.chance.uniform(0, 3))
    await asyncio.to_thread(fleet.redis.start)


async def wipe_redis(fleet: Fleet) -> None:
    """SIGKILL, its data deleted, and a start."""
    await asyncio.to_thread(fleet.redis.stop, signal.SIGKILL)
    for path in (fleet.folder / "redis").glob("appendonly*"):
        path.unlink()
    await asyncio.to_thread(fleet.redis.start)


FAULTS: dict[str, Callable[[Fleet], Awaitable[None]]] = {
    fault.__name__: fault
    for fault in (
        kill_worker,
        kill_gateway,
        stop_worker,
        freeze_worker,
        block_loop,
        restart_postgres,
        kill_postgres,
        kill_backends,
        exhaust_connections,
        kill_nats,
        wipe_nats,
        kill_redis,
        wipe_redis,
    )
}
