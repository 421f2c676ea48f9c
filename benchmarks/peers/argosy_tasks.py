"""Argosy: a gateway's dispatcher that accepts jobs into the ledger, and a worker with the fleet's runtime.

Unlike the producers of the others, this one keeps running. It is the gateway: its dispatcher publishes tickets and
requeues the jobs of dead workers.
"""

import asyncio
import os

import uvloop
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks import jobs, noop_worker
from benchmarks.noop_worker import Nothing, Settings, resources
from benchmarks.peers import job
from deploy.local.servers import Server
from deploy.local.test_servers import Trio
from libs.common.worker.job import Done, Job
from libs.common.worker.service import Service, main

COUNT = text("INSERT INTO bench_effects (job_id) VALUES (:id)")


async def noop(of: Job[Nothing], deps: None) -> Done:
    """Do nothing."""
    job.noop()
    return await noop_worker.handle(of, deps)


async def effect(of: Job[Nothing], deps: None) -> Done:
    """Write a line, and a row that is committed together with the job's end or not at all."""
    await job.effect_async(of.id)

    async def count(connection: AsyncConnection) -> None:
        await connection.execute(COUNT, {"id": of.id})

    return Done(effects=count)


async def accept() -> None:
    """Accept all jobs, 1,000 in flight as in `make bench-jobs`, then keep running as the gateway."""
    servers = Trio(
        postgres=Server("postgres", [], os.environ["DATABASE_URL"]),
        redis=Server("redis", [], ""),
        nats=Server("nats", [], os.environ["NATS_URL"]),
    )
    async with jobs.gateway(servers) as (database, dispatcher):
        await database.fetch("CREATE TABLE bench_effects (job_id uuid NOT NULL)")
        await database.fetch("GRANT INSERT ON bench_effects TO argosy_worker")
        job.tell("enqueued", await jobs.accept_all(dispatcher, job.JOBS))
        await asyncio.Event().wait()


def produce() -> None:
    """Run the gateway."""
    uvloop.run(accept())


def work() -> None:
    """Run a worker."""
    main(Service(jobs.QUEUE, Settings, Nothing, resources, {"noop": noop, "effect": effect}[job.TASK]))


if __name__ == "__main__":
    job.run(produce, work)
