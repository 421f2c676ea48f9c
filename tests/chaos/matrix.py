"""make chaos: every fault, once for every seed, in a fleet of its own; a table of what was lost and counted twice.

Real processes. In a run all workers' slots are busy and jobs come in over HTTP when the fault strikes, at a random
moment. Afterwards every accepted job must have ended once, its effects be counted once, the books balance,
and the fleet be as fast as before.
"""

import argparse
import asyncio
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.fleet import Fleet, printed_logs

SLEEP_S = 0.2
PROBE_JOBS = 300
FLOWS, CHILDREN = 20, 5
"""Jobs that fan out, beside the others, while the fault strikes."""
PATIENCE_S = 150.0


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `recovery_s`: from the fault to the end of the last job, beyond what the work itself takes."""

    fault: str
    seed: int
    jobs: int
    lost: int
    twice: int
    unaccounted: int
    more_attempts: int
    speed: float
    total_s: float

    @property
    def good(self) -> bool:
        """Whether the promises held."""
        return not (self.lost or self.twice or self.unaccounted)


async def run(faults: Sequence[str], seed: int, jobs: int, *, probe: int = PROBE_JOBS) -> list[Result]:
    """One fleet, one fault after the other. Raises AssertionError or TimeoutError where a job does not end."""
    chance = random.Random("/".join([*faults, str(seed)]))  # noqa: S311 - so that a seed repeats the run
    with tempfile.TemporaryDirectory(prefix="argosy-chaos-") as name:
        folder = Path(name)
        fleet = Fleet(folder, chance)
        with printed_logs(folder):
            try:
                await fleet.start()
                return [result async for result in _struck(fleet, faults, seed, jobs, probe)]
            finally:
                await fleet.close()


async def _struck(fleet: Fleet, faults: Sequence[str], seed: int, jobs: int, probe: int) -> AsyncIterator[Result]:
    """What each fault did. An account is of all jobs of the fleet, so that the one before is taken off."""
    before = await fleet.throughput(probe, SLEEP_S)
    expected, earlier = probe, Counter[str]()
    for fault in faults:
        total_s = await _strike(fleet, fault, jobs)
        after = await fleet.throughput(probe, SLEEP_S)
        account = await fleet.account()
        expected += jobs + FLOWS * (1 + CHILDREN) + probe + (fault == "block_loop")
        assert account["jobs"] == expected, f"{account['jobs']} jobs in the ledger, {expected} accepted"
        assert account["misbooked"] == 0, account
        more = {name: number - earlier[name] for name, number in account.items()}
        yield Result(
            fault,
            seed,
            jobs,
            more["lost"] + more["not_succeeded"],
            more["twice"],
            more["unaccounted"],
            more["more_attempts"],
            after / before,
            total_s,
        )
        before, earlier = after, Counter(account)


async def _strike(fleet: Fleet, fault: str, jobs: int) -> float:
    """One fault while jobs come in; the seconds until all have ended."""
    await fleet.pause()
    await fleet.submit(jobs // 2, sleep_s=SLEEP_S)
    await fleet.resume()
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        flowing = asyncio.create_task(fleet.submit(FLOWS, sleep_s=SLEEP_S, children=CHILDREN))
        submitting = asyncio.create_task(fleet.submit(jobs - jobs // 2, sleep_s=SLEEP_S))
        await asyncio.sleep(fleet.chance.uniform(0.3, 2))
        await FAULTS[fault](fleet)
        await submitting
        await flowing
        await fleet.until_ended()
        total_s = time.monotonic() - begun
        await fleet.until_workers_live()
    return total_s


def run_alone(faults: Sequence[str], seed: int, jobs: int, probe: int = PROBE_JOBS) -> list[Result]:
    """`run`, on an event loop of its own."""
    return asyncio.run(run(faults, seed, jobs, probe=probe))


def matrix(
    fleets: Iterable[Sequence[str]], seeds: Iterable[int], jobs: int, *, at_once: int, probe: int = PROBE_JOBS
) -> Iterator[Result]:
    """The faults of every fleet × seeds, so many fleets at once, each with a process of its own for its jobs."""
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(run_alone, faults, seed, jobs, probe) for seed in seeds for faults in fleets]
        for one in as_completed(runs):
            yield from one.result()


def table(results: list[Result]) -> str:
    """A line a fault."""
    lines = [
        f"{'fault':22}{'runs':>5}{'jobs':>7}{'lost':>6}{'twice':>7}{'unaccounted':>13}{'again':>7}"
        f"{'seconds p50/max':>17}{'speed after/before p50 (min)':>30}"
    ]
    for fault in dict.fromkeys(result.fault for result in results):
        some = [result for result in results if result.fault == fault]
        seconds, speeds = [result.total_s for result in some], [result.speed for result in some]
        lines.append(
            f"{fault:22}{len(some):5}{sum(r.jobs for r in some):7}{sum(r.lost for r in some):6}"
            f"{sum(r.twice for r in some):7}{sum(r.unaccounted for r in some):13}"
            f"{sum(r.more_attempts for r in some):7}"
            f"{f'{statistics.median(seconds):.1f}/{max(seconds):.1f}':>17}"
            f"{f'{statistics.median(speeds):.3f} ({min(speeds):.3f})':>30}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--faults", nargs="*", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--at-once", type=int, default=3, help="fleets side by side")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    print(f"seeds {seeds.start} to {seeds.stop - 1}", flush=True)
    found = []
    fleets = [[fault] for fault in arguments.faults]
    for result in matrix(fleets, seeds, arguments.jobs, at_once=arguments.at_once):
        print(result, flush=True)
        found.append(result)
    print(table(found))
    sys.exit(not all(result.good for result in found))
