"""The two measurements. Each starts its own servers in an empty folder, and removes everything afterwards."""

import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.peers.contenders import Contender, lines, told

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 100
AT_ONCE_KILLED = 20
"""Concurrency of the recovery test. It is lower, so that the kill comes while jobs of 20 ms are running."""
GIVE_UP_S = 300.0
KILL_WITHIN_S = 0.1
"""The kill comes at a random moment in this time, so that it does not always hit the same point of a batch."""
LATECOMERS_S = 3.0
"""How long to wait, after the last job was seen, for jobs that run twice."""


class Failed(Exception):
    """A contender did not finish. The message has the end of its log."""


@dataclass(frozen=True)
class Throughput:
    """The result for no-op jobs."""

    enqueued_per_s: float
    processed_per_s: float
    peak_mb: float


@dataclass(frozen=True)
class Recovery:
    """The result of a killed worker.

    `missing`: jobs without an effect at the end; `twice`: jobs with more than one effect; `runs`: lines written;
    `seconds`: from the kill until no job was missing, None if some stayed missing.
    """

    missing: int
    twice: int
    runs: int
    seconds: float | None


@dataclass
class Stage:
    """A contender with its servers running."""

    contender: Contender
    environment: dict[str, str]
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a script in a process group of its own."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.started.append(process)
        return process

    def enqueue(self) -> float:
        """Enqueue all jobs. Returns the seconds it took."""
        producer = self.start(self.contender.produce)
        self.wait_for(lambda: (self.folder / "enqueued").exists(), producer)
        return told("enqueued", self.environment)

    def wait_for(self, reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        """Poll until `reached()`. Raises Failed after GIVE_UP_S, or if `process` ends before."""
        deadline = time.monotonic() + GIVE_UP_S
        while not reached():
            if time.monotonic() > deadline or (process.poll() is not None and not reached()):
                end = (self.folder / "log").read_text(errors="replace")[-1500:]
                raise Failed(f"not finished within {GIVE_UP_S:.0f} s, or ended too soon:\n{end}")
            time.sleep(0.01)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to the process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def stage(contender: Contender, task: str, jobs: int, concurrency: int) -> Iterator[Stage]:
    """Start the servers, and set the variables that describe the run to the scripts."""
    with tempfile.TemporaryDirectory() as name, contender.serving(Path(name)) as addresses:
        variables = {
            "BENCH_FOLDER": name,
            "BENCH_TASK": task,
            "BENCH_JOBS": str(jobs),
            "BENCH_CONCURRENCY": str(concurrency),
            "NOOP_CONCURRENCY": str(concurrency),
        }
        opened = Stage(contender, {**os.environ, **addresses, **variables, **contender.variables}, Path(name))
        try:
            yield opened
        finally:
            for process in opened.started:
                kill(process)


def throughput(contender: Contender, jobs: int) -> Throughput:
    """Enqueue all jobs, then start one worker process, and measure."""
    with stage(contender, "noop", jobs, AT_ONCE) as on:
        enqueue_s = on.enqueue()
        worker = on.start(contender.work)
        on.wait_for(lambda: (on.folder / "span").exists(), worker)
        span_s = contender.span(on.environment)
        return Throughput(jobs / enqueue_s, jobs / span_s, peak_mb(worker.pid))


def peak_mb(pid: int) -> float:
    """Return the largest VmHWM, in MB, among the worker's processes: that of the one that runs the jobs."""
    process = psutil.Process(pid)
    peaks = []
    for each in (process, *process.children(recursive=True)):
        with suppress(FileNotFoundError):
            status = Path(f"/proc/{each.pid}/status").read_text()
            peaks += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")]
    return max(peaks)


def recovery(contender: Contender, jobs: int, patience_s: float) -> Recovery:
    """Kill the worker when a third of the jobs is done, start another at once, and count the effects."""
    with stage(contender, "effect", jobs, AT_ONCE_KILLED) as on:
        on.enqueue()
        worker = on.start(contender.work)
        on.wait_for(lambda: len(lines(on.environment)) >= jobs // 3, worker)
        time.sleep(random.uniform(0, KILL_WITHIN_S))  # noqa: S311
        kill(worker)
        killed_at = time.monotonic()
        on.start(contender.work)
        last_at = _watch(on, jobs, patience_s)
        times = Counter(contender.effects(on.environment))
        return Recovery(
            missing=jobs - len(times),
            twice=sum(count > 1 for count in times.values()),
            runs=len(lines(on.environment)),
            seconds=last_at - killed_at if len(times) == jobs else None,
        )


def _watch(on: Stage, jobs: int, patience_s: float) -> float:
    """Wait until all jobs are seen, or none for `patience_s` seconds. Returns the time of the last one."""
    seen, last_at = 0, time.monotonic()
    while seen < jobs and time.monotonic() - last_at < patience_s:
        time.sleep(0.1)
        now_seen = len(set(on.contender.effects(on.environment)))
        if now_seen > seen:
            seen, last_at = now_seen, time.monotonic()
    if seen == jobs:
        time.sleep(LATECOMERS_S)
    return last_at
