"""Celery on Redis, with the thread pool, in which a single worker process can run 100 jobs at once.

Tuned: no results, and no gossip, mingle and heartbeat between workers. A larger prefetch made no difference.
"""

import os

from celery import Celery

from benchmarks.peers import job

app = Celery("bench", broker=job.URL)
app.conf.task_acks_late = bool(os.environ.get("BENCH_ACKS_LATE"))
TUNING: tuple[str, ...] = ()
if job.TUNED:
    app.conf.task_ignore_result = True
    TUNING = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@app.task(name="noop")
def noop(_number: int) -> None:
    """Do nothing."""
    job.noop()


@app.task(name="effect")
def effect(number: int) -> None:
    """Write a line."""
    job.effect(number)


def produce() -> None:
    """Call `apply_async` with one producer that is reused. Celery has no bulk call that makes single jobs."""
    task = {"noop": noop, "effect": effect}[job.TASK]
    with app.producer_or_acquire() as producer:
        job.enqueue_each(lambda number: task.apply_async((number,), producer=producer))


def work() -> None:
    """Run Celery's worker."""
    app.worker_main(["worker", "--pool=threads", f"--concurrency={job.CONCURRENCY}", *TUNING])


if __name__ == "__main__":
    job.run(produce, work)
