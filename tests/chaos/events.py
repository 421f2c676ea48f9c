"""make chaos-events: events sent while everything is killed in turn; what is accepted is counted, and once.

Real processes. Callers send events of two tenants, and repeat a request, with the same ids and times, until it is
answered. Meanwhile a worker, a gateway, PostgreSQL, NATS and Redis are killed with SIGKILL and come back, each at
a random moment while jobs run. When all jobs have ended, what was accepted must be what was counted, repeated or
rejected, exactly; and every number must be what brute force finds in the events that differ.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from libs.common.contracts.ids import parse_id
from tests.chaos.event_accounts import Account, Answers, account, told, watch
from tests.chaos.event_requests import EVENT_TYPE, NAMES, Request, requests
from tests.chaos.faults import FAULTS
from tests.chaos.fleet import LOST, TENANTS, Fleet, printed_logs

KILLED = ("kill_worker", "kill_gateway", "kill_postgres", "kill_nats", "kill_redis")
EVENTS_A_ROUND = 10_000
"""While so many are sent, each is killed once."""
CALLERS = 20
"""Requests under way at once."""
ANALYTICS = {"ANALYTICS_SECRET": "not a secret, but long enough to be one"}


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault, and what was sent meanwhile. `unanswered`: tries without a 202."""

    fault: str
    requests: int
    unanswered: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """One run."""

    seed: int
    strikes: list[Strike]
    account: Account
    seconds: float


class Callers:
    """They send requests, and remember the answers."""

    def __init__(self, fleet: Fleet) -> None:
        self.answers = Answers()
        self._fleet = fleet
        self._places = asyncio.Semaphore(CALLERS)

    async def send(self, share: Sequence[Request]) -> None:
        """Send each request until it is accepted."""
        await asyncio.gather(*map(self._send, share))

    async def _send(self, request: Request) -> None:
        async with self._places:
            if request.hangs_up_after_s is not None:
                await self._accepted(request, request.hangs_up_after_s)
            while not await self._accepted(request, 20.0):
                await asyncio.sleep(0.1)

    async def _accepted(self, request: Request, timeout_s: float) -> bool:
        unanswered = self.answers.unanswered
        answer = await self._fleet.request(
            "POST",
            "/v1/events",
            {"events": request.events},
            tenant=request.tenant,
            turn=request.number + unanswered[request.number],
            timeout_s=timeout_s,
        )
        if answer is None or answer.status_code == 503:
            unanswered[request.number] += 1
            return False
        assert answer.status_code == 202, answer.text
        document = answer.json()
        job = parse_id(document["job"])
        assert job is not None
        assert document["accepted"] == len(request.events)
        self.answers.accepted[request.number, job] += 1
        return True


async def strike(fleet: Fleet, callers: Callers, fault: str, share: Sequence[Request]) -> Strike:
    """Send requests, and kill something when some of them are accepted and a job runs."""
    begun, before = time.monotonic(), callers.answers.unanswered.total()
    accepted = len(callers.answers.accepted) + fleet.chance.randrange(max(1, len(share) // 2))
    sending = asyncio.create_task(callers.send(share))
    while not sending.done() and (len(callers.answers.accepted) <= accepted or not await _running(fleet)):
        await asyncio.sleep(0.005)
    await FAULTS[fault](fleet)
    await sending
    unanswered = callers.answers.unanswered.total() - before
    return Strike(fault, len(share), unanswered, time.monotonic() - begun)


async def _running(fleet: Fleet) -> bool:
    with suppress(*LOST):
        async with fleet.connected() as connection:
            return bool(
                await connection.fetchval("SELECT EXISTS (SELECT FROM ledger.jobs WHERE state = 'running')")
            )
    return False


def _shares(sent: Sequence[Request], number: int) -> list[Sequence[Request]]:
    edges = [len(sent) * part // number for part in range(number + 1)]
    return [sent[begin:end] for begin, end in pairwise(edges)]


async def run(seed: int, events: int) -> Result:
    """One fleet. Raises AssertionError or TimeoutError where a job does not come to its end."""
    chance = random.Random(f"events/{seed}")  # noqa: S311 - so that a seed repeats the run
    sent = list(requests(chance, events))
    faults = KILLED * max(1, events // EVENTS_A_ROUND)
    with tempfile.TemporaryDirectory(prefix="argosy-chaos-") as name:
        fleet = Fleet(
            Path(name), chance, gateway="services.gateway", worker="services.analytics", settings=ANALYTICS
        )
        with printed_logs(Path(name)):
            try:
                await fleet.start()
                await watch(fleet)
                for tenant in TENANTS:
                    for event_name in NAMES:
                        await told(fleet, "PUT", f"/v1/event-types/{event_name}", EVENT_TYPE, tenant)
                callers, begun = Callers(fleet), time.monotonic()
                async with asyncio.timeout(300 + events / 100):
                    shares = _shares(sent, len(faults))
                    strikes = [await strike(fleet, callers, *each) for each in zip(faults, shares, strict=True)]
                    await fleet.until_ended()
                    seconds = time.monotonic() - begun
                    return Result(seed, strikes, await account(fleet, sent, callers.answers), seconds)
            finally:
                await fleet.close()


def strikes_table(results: Sequence[Result]) -> str:
    """A line for each fault."""
    lines = [f"{'fault':16}{'times':>6}{'requests':>10}{'unanswered':>12}{'seconds p50/max':>17}"]
    for fault in KILLED:
        some = [one for result in results for one in result.strikes if one.fault == fault]
        seconds = [one.seconds for one in some]
        lines.append(
            f"{fault:16}{len(some):6}{sum(one.requests for one in some):10}"
            f"{sum(one.unanswered for one in some):12}"
            f"{f'{statistics.median(seconds):.1f}/{max(seconds):.1f}':>17}"
        )
    return "\n".join(lines)


COLUMNS = (
    *("sent", "accepted", "unanswered", "counted", "duplicates", "rejected"),
    *("distinct", "lost", "twice", "failed", "again"),
)


def accounts_table(results: Sequence[Result]) -> str:
    """A line for each seed, in events: accepted + unanswered = counted + duplicates + rejected."""
    lines = [f"{'seed':>8}" + "".join(f"{name:>11}" for name in COLUMNS) + f"{'wrong':>7}{'seconds':>9}"]
    for result in results:
        numbers = "".join(f"{getattr(result.account, name):11}" for name in COLUMNS)
        lines.append(f"{result.seed:8}{numbers}{len(result.account.wrong):7}{result.seconds:9.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    arguments = parser.parse_args()
    found = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        print(f"seed {seed}", flush=True)
        found.append(asyncio.run(run(seed, arguments.events)))
    print(strikes_table(found), accounts_table(found), sep="\n\n")
    for one in found:
        for wrong in one.account.wrong[:10]:
            print(f"seed {one.seed}: {wrong}")
    sys.exit(not all(one.account.good for one in found))
