"""python -m tests.integration.services.gateway.limits.traffic: one gateway's limiter, under random traffic.

Reads its orders as JSON from the command line; writes one line for each admission: when it was asked for and when
it was answered, in µs of the clock that all processes of a machine share.
"""

import asyncio
import json
import random
import sys
import time
from typing import Any

from redis.asyncio import Redis

from libs.common import bus, log
from libs.common.config import BusSettings
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.policies import Charge, Charges, Per, Policy


def put_clock_wrong(by_ms: int) -> None:
    """Let this process believe that it is another time."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + by_ms / 1000
    time.time_ns = lambda: right_ns() + by_ms * 1_000_000


async def run(orders: dict[str, Any]) -> None:
    policies = [Policy(name, Per.USER, limit, window_s) for name, limit, window_s in orders["policies"]]
    charges = Charges(Charge.of(policy, orders["user"]) for policy in policies)
    dice = random.Random(orders["seed"])  # noqa: S311
    settings = BusSettings.model_validate({"nats_url": orders["nats"]})
    redis = Redis.from_url(orders["redis"], socket_connect_timeout=1, socket_timeout=10)
    async with bus.connect(settings, "traffic") as connected:
        while not connected.connected:
            await asyncio.sleep(0.01)
        limiter = Limiter(redis, connected, budget_s=orders["budget_s"])
        async with limiter.running():
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            until = time.monotonic() + orders["seconds"]
            asking: set[asyncio.Task[None]] = set()
            while time.monotonic() < until:
                for _ in range(dice.choice((1, 1, 2, 5, 20))):
                    task = asyncio.create_task(ask(limiter, charges))
                    asking.add(task)
                    task.add_done_callback(asking.discard)
                await asyncio.sleep(dice.uniform(0, orders["pause_s"]))
            await asyncio.gather(*asking)


async def ask(limiter: Limiter, charges: Charges) -> None:
    asked = time.monotonic_ns() // 1000
    if (await limiter.take(charges)).admitted:
        print(asked, time.monotonic_ns() // 1000, limiter.mode.value, flush=True)


if __name__ == "__main__":
    log.setup("traffic")
    wanted = json.loads(sys.argv[1])
    put_clock_wrong(wanted["clock_wrong_by_ms"])
    asyncio.run(run(wanted))
