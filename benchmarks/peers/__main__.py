"""make bench-peers: Argosy, BullMQ, arq, Taskiq, Celery, Dramatiq and FastStream in one run.

Each contender gets fresh servers for each measurement: Redis with its append-only file, NATS with streams on disk,
PostgreSQL with fsync on. So Argosy waits for the disk whenever it accepts or ends a job. The servers of the others
write to disk a second or more later. One process enqueues, and one worker process runs the jobs. Throughput is
measured with each library's best documented settings, recovery with its defaults.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence

from benchmarks.peers.contenders import ALL, ARGOSY, BULLMQ, CannotInstall, Contender
from benchmarks.peers.measures import (
    AT_ONCE,
    AT_ONCE_KILLED,
    Failed,
    Recovery,
    Throughput,
    recovery,
    throughput,
)
from deploy.local.servers import CannotRun

Speeds = dict[str, Throughput]
"""The results of one round, by the contender's name."""
Recoveries = dict[str, Recovery]


def installed(wanted: Sequence[str]) -> list[Contender]:
    """Install the contenders. Prints why one is left out, and returns the others."""
    present = []
    for contender in ALL:
        if wanted and contender.name.split(",")[0].lower() not in wanted:
            continue
        try:
            contender.install()
        except CannotInstall as reason:
            print(f"{contender.name} is left out: {reason}", flush=True)
        else:
            present.append(contender)
    return present


def speeds(contenders: Sequence[Contender], jobs: int) -> Speeds:
    """Run one round of no-op jobs."""
    results = {}
    for contender in contenders:
        if not contender.measures_throughput:
            continue
        try:
            result = results[contender.name] = throughput(contender, jobs)
        except (Failed, CannotRun) as reason:
            print(f"{contender.name} is left out of this round: {reason}", flush=True)
        else:
            print(f"  {contender.name:18} {_speed(result)}", flush=True)
    return results


def recoveries(contenders: Sequence[Contender], jobs: int, patience_s: float) -> Recoveries:
    """Run one round in which workers are killed."""
    results = {}
    for contender in contenders:
        try:
            result = results[contender.name] = recovery(contender, jobs, patience_s)
        except (Failed, CannotRun) as reason:
            print(f"{contender.name} is left out of this round: {reason}", flush=True)
        else:
            print(f"  {contender.name:18} {_recovery(result, patience_s)}", flush=True)
    return results


def _speed(result: Throughput) -> str:
    return f"{result.enqueued_per_s:11,.0f} {result.processed_per_s:11,.0f} {result.peak_mb:8,.0f}"


def _recovery(result: Recovery, patience_s: float) -> str:
    end = (
        f"all done after {result.seconds:.1f} s"
        if result.seconds is not None
        else f"{result.missing} not recovered in {patience_s:.0f} s"
    )
    return f"{result.missing:7} {result.twice:6} {result.runs:6}  {end}"


def print_speeds(contenders: Sequence[Contender], rounds: Sequence[Speeds], jobs: int) -> None:
    """Print the medians, and Argosy's ratios to the best peers."""
    print(f"\n{jobs:,} no-op jobs, one worker process, {AT_ONCE} at once; medians of {len(rounds)}")
    print(f"  {'':18} {'enqueue/s':>11} {'process/s':>11} {'peak MB':>8}  enqueued with")
    for contender in contenders:
        results = [results[contender.name] for results in rounds if contender.name in results]
        if results:
            medians = Throughput(
                statistics.median(result.enqueued_per_s for result in results),
                statistics.median(result.processed_per_s for result in results),
                statistics.median(result.peak_mb for result in results),
            )
            print(f"  {contender.name:18} {_speed(medians)}  {contender.enqueues}")
    python = [contender.name for contender in contenders if contender.is_python_peer]
    _print_ratio("the best Python peer", rounds, python)
    _print_ratio("BullMQ", rounds, [BULLMQ.name])


def _print_ratio(against: str, rounds: Sequence[Speeds], names: Sequence[str]) -> None:
    ratios = []
    for results in rounds:
        others = [results[name].processed_per_s for name in names if name in results]
        if others and ARGOSY.name in results:
            ratios.append(results[ARGOSY.name].processed_per_s / max(others))
    if ratios:
        print(f"Argosy's process/s ÷ {against}: {statistics.median(ratios):.2f} (median of the rounds' ratios)")


def print_recoveries(
    contenders: Sequence[Contender], rounds: Sequence[Recoveries], jobs: int, patience_s: float
) -> None:
    """Print the medians. Each library has its default settings."""
    print(
        f"\n{jobs:,} jobs of 20 ms, {AT_ONCE_KILLED} at once; kill -9 after a third, a fresh worker at once;"
        f" medians of {len(rounds)}"
    )
    print(
        "`missing`: jobs without an effect at the end, `twice`: with more than one. Argosy's effects are rows in"
    )
    print("the job's own transaction, the others' are lines in a file; `runs` are the lines, for all.")
    print(f"  {'':18} {'missing':>7} {'twice':>6} {'runs':>6}  {'':28} comes back, by default")
    for contender in contenders:
        results = [results[contender.name] for results in rounds if contender.name in results]
        if results:
            line = _recovery(_median_recovery(results), patience_s)
            print(f"  {contender.name:18} {line:48} {contender.comes_back}")


def _median_recovery(results: Sequence[Recovery]) -> Recovery:
    """Return medians. A round in which jobs stayed missing counts as infinitely long."""

    def middle(value: Callable[[Recovery], float]) -> int:
        return int(statistics.median_high(value(result) for result in results))

    seconds = sorted(result.seconds if result.seconds is not None else float("inf") for result in results)
    median_s = statistics.median_high(seconds)
    return Recovery(
        missing=middle(lambda result: result.missing),
        twice=middle(lambda result: result.twice),
        runs=middle(lambda result: result.runs),
        seconds=None if median_s == float("inf") else median_s,
    )


def main(jobs: int, killed_jobs: int, rounds: int, patience_s: float, only: Sequence[str]) -> None:
    """Run all measurements `rounds` times, then print the tables."""
    contenders = installed(only)
    speed_rounds, recovery_rounds = [], []
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}: enqueue/s, process/s, peak MB", flush=True)
        speed_rounds.append(speeds(contenders, jobs))
        print(f"round {number} of {rounds}: kill -9: missing, twice, runs", flush=True)
        recovery_rounds.append(recoveries(contenders, killed_jobs, patience_s))
    print_speeds(contenders, speed_rounds, jobs)
    print_recoveries(contenders, recovery_rounds, killed_jobs, patience_s)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--killed-jobs", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=75.0, help="seconds without news before it is over")
    parser.add_argument("only", nargs="*", type=str.lower, help="take only these contenders")
    arguments = parser.parse_args()
    main(arguments.jobs, arguments.killed_jobs, arguments.rounds, arguments.patience, arguments.only)
