"""make chaos-rollout FROM=commit: replace an older version by this one under load, and go back to it.

Real processes of both versions, and one database. It is migrated first, then workers and gateways are replaced one
by one, the way docs/upgrade.md says; then all go back, on the new schema. At each step jobs come in through the
gateways that are there, and are done by the workers that are there. Now and then one tenant holds all slots with
long jobs while another waits, so that jobs are asked to give way, also of old workers that may not know how.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.chaos.fleet import GATEWAYS, ROOT, TENANTS, WORKERS, Fleet, printed_logs
from tests.chaos.worker import SLOTS

SLEEP_S = 0.1
FLOWS, CHILDREN = 5, 4
LONG_S = 12.0
"""More than a tenant waits before others give way to it."""
PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Step:
    """What happened meanwhile. `failed`: requests without a 202. `asked`: attempts that were to give way."""

    name: str
    jobs: int
    failed: int
    asked: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """All steps, and the account at the end."""

    steps: list[Step]
    account: dict[str, int]

    @property
    def good(self) -> bool:
        """Whether every job ended well and counted once, no request failed, and some job was asked to give way."""
        wrong = {name: number for name, number in self.account.items() if name not in ("jobs", "more_attempts")}
        jobs = sum(step.jobs for step in self.steps)
        return (
            not any(wrong.values())
            and self.account["jobs"] == jobs
            and not any(step.failed for step in self.steps)
            and any(step.asked for step in self.steps)
        )


class Rollout:
    """A fleet of an older version whose processes are replaced."""

    def __init__(self, fleet: Fleet, older: Path, jobs: int) -> None:
        self.fleet = fleet
        self.older = older
        self.steps: list[Step] = []
        self._jobs = jobs
        self._numbers = count()

    async def there_and_back(self) -> None:
        """Every step, each under load."""
        await self._step("all of the older version, its schema", self._nothing)
        await self._step("the schema is migrated", self.fleet.migrate)
        await self._step("half of the workers are new", lambda: self._replace_workers(ROOT, WORKERS // 2))
        await self._step("all workers are new", lambda: self._replace_workers(ROOT, WORKERS - WORKERS // 2))
        await self._step("old gateways, new workers", self._nothing)
        await self._step("all gateways are new", lambda: self._replace_gateways(ROOT))
        await self._crowd("all new: one tenant holds all slots")
        await self._step("half of the workers are old", lambda: self._replace_workers(self.older, WORKERS // 2))
        await self._crowd("both: one tenant holds all slots", lambda: self._replace_workers(self.older, 1))
        await self._step("new gateways, old workers", self._nothing)
        await self._crowd("new gateways, old workers: one tenant holds all slots")
        await self._step("all gateways are old", lambda: self._replace_gateways(self.older))
        await self._step("all of the older version, new schema", self._nothing)

    async def to_itself(self) -> None:
        """What a version can show alone: each kind of process replaced once, also while jobs give way."""
        await self._step("the schema is migrated", self.fleet.migrate)
        await self._step("all workers are new", lambda: self._replace_workers(self.older, WORKERS))
        await self._step("all gateways are new", lambda: self._replace_gateways(self.older))
        await self._crowd("one tenant holds all slots", lambda: self._replace_workers(self.older, 1))

    async def _nothing(self) -> None:
        """Change nothing."""

    async def _replace_workers(self, code: Path, number: int) -> None:
        for _ in range(number):
            await self.fleet.replace_worker(f"worker-{next(self._numbers)}-later", code)

    async def _replace_gateways(self, code: Path) -> None:
        for _ in range(GATEWAYS):
            await self.fleet.replace_gateway(f"gateway-{next(self._numbers)}-later", code)

    async def _step(self, name: str, change: Callable[[], Awaitable[None]]) -> None:
        """Change something while jobs come in, until it is done and they have ended."""
        changing = asyncio.ensure_future(change())
        jobs = failed = 0
        begun, asked = time.monotonic(), await self._asked()
        while not jobs or not changing.done():
            tries = await self.fleet.submit(self._jobs, sleep_s=SLEEP_S)
            tries += await self.fleet.submit(FLOWS, sleep_s=SLEEP_S, children=CHILDREN)
            failed += tries - self._jobs - FLOWS
            jobs += self._jobs + FLOWS * (1 + CHILDREN)
        await changing
        await self.fleet.until_ended()
        self._note(Step(name, jobs, failed, await self._asked() - asked, time.monotonic() - begun))

    async def _crowd(self, name: str, change: Callable[[], Awaitable[None]] | None = None) -> None:
        """One tenant has twice as many long jobs as there are slots; then another comes."""
        begun, asked = time.monotonic(), await self._asked()
        crowd = 2 * WORKERS * SLOTS
        tries = await self.fleet.submit(crowd, sleep_s=LONG_S)
        while await self._running() < WORKERS * SLOTS:
            await asyncio.sleep(0.1)
        tries += await self.fleet.submit(self._jobs, TENANTS[1], sleep_s=SLEEP_S)
        while await self._asked() == asked:
            await asyncio.sleep(0.1)
        if change is not None:
            await change()
        await self.fleet.until_ended()
        jobs = crowd + self._jobs
        self._note(Step(name, jobs, tries - jobs, await self._asked() - asked, time.monotonic() - begun))

    async def _running(self) -> int:
        return await self._number("SELECT count(*) FROM ledger.jobs WHERE state = 'running'")

    async def _asked(self) -> int:
        """How many attempts have been asked to give way; none before there is a column for them."""
        exists = await self._number(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'ledger.jobs'::regclass AND attname = 'preempted'"
        )
        asked = "SELECT coalesce(sum(cardinality(preempted)), 0) FROM ledger.jobs"
        return await self._number(asked) if exists else 0

    async def _number(self, query: str) -> int:
        async with self.fleet.connected() as connection:
            return int(await connection.fetchval(query))

    def _note(self, step: Step) -> None:
        self.steps.append(step)
        print(f"{step.name:52}{step.jobs:6}{step.failed:8}{step.asked:7}{step.seconds:9.1f}", flush=True)


async def run(older: Path, steps: Callable[[Rollout], Awaitable[None]], *, jobs: int) -> Result:
    """Start with the version in the folder `older`. Raises TimeoutError if a job does not end."""
    with tempfile.TemporaryDirectory(prefix="argosy-rollout-") as name:
        fleet = Fleet(Path(name), random.Random())  # noqa: S311 - it only makes keys
        # An older version may have no user of its own, nor all limits of this one.
        fleet.redis_url, fleet.limits = fleet.redis.server.url, "ip=off, burst=off, api=off, ocr=1000000/min"
        with printed_logs(Path(name)):
            try:
                await fleet.start(older)
                rollout = Rollout(fleet, older, jobs)
                print(f"{'step':52}{'jobs':>6}{'failed':>8}{'asked':>7}{'seconds':>9}", flush=True)
                async with asyncio.timeout(PATIENCE_S):
                    await steps(rollout)
                return Result(rollout.steps, await fleet.account())
            finally:
                await fleet.close()


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The files of a commit, in a folder that is removed afterwards."""
    git = ("git", "-C", str(ROOT), "worktree")
    with tempfile.TemporaryDirectory(prefix="argosy-older-") as name:
        folder = Path(name) / "code"
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="the older version")
    parser.add_argument("--jobs", type=int, default=200, help="at each step, while something changes")
    arguments = parser.parse_args()
    with checked_out(arguments.commit) as code:
        found = asyncio.run(run(code, Rollout.there_and_back, jobs=arguments.jobs))
    print(found.account)
    sys.exit(not found.good)
