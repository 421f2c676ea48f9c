"""Runs a worker process, from reading its settings to SIGTERM. The __main__ of each worker calls `main`."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import uvloop
from pydantic import BaseModel

from libs.common import background, bus, config, db, gc_tuning, log, probes, rpc, telemetry
from libs.common.backoff import Backoff
from libs.common.blobs import Blobs
from libs.common.config import WorkerSettings
from libs.common.contracts.services import role_of
from libs.common.db import Database
from libs.common.ledger.claim import Offers
from libs.common.rpc import RpcHandler
from libs.common.sandbox.seccomp import hide_process_memory
from libs.common.worker.job import HandlerResult, Job
from libs.common.worker.worker import DEFAULT_BACKOFF, Worker

logger = log.get("service")

S = TypeVar("S", bound=WorkerSettings)
P = TypeVar("P", bound=BaseModel)
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Platform:
    """The connections that the runtime has opened for a service."""

    database: Database
    blobs: Blobs


@dataclass(frozen=True, slots=True)
class Service(Generic[S, P, D]):
    """The definition of a worker service. `name` is also the name of its queue.

    `resources` opens what `handle` needs before the first job, and closes it after the last one.
    """

    name: str
    settings: type[S]
    payload: type[P]
    resources: Callable[[S, Platform], AbstractAsyncContextManager[D]]
    handle: Callable[[Job[P], D], Awaitable[HandlerResult]]
    backoff: Callable[[str], Backoff] = lambda _kind: DEFAULT_BACKOFF
    """The delays between retries, by kind of job."""
    offers: Callable[[D], Offers] | None = None
    """What it tells gateways that it can do, so that they refuse at once what no worker can."""
    rpc_handlers: Mapping[str, RpcHandler[D]] = field(default_factory=dict)
    """The functions that the gateway may call, by name (rpc.py)."""


def main(service: Service[S, P, D]) -> None:
    """Run `service` until SIGTERM or SIGINT."""
    settings = config.load(service.settings)
    if settings.argosy_run_dir is None:
        hide_process_memory()
    log.setup(service.name)
    with config.exit_if_refused(), telemetry.running(settings, service.name):
        uvloop.run(_serve(service, settings))


async def _serve(service: Service[S, P, D], settings: S) -> None:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    begun = asyncio.Event()
    work = asyncio.create_task(_work(service, settings, begun, stop))
    stop_requested = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stop_requested}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done() and not begun.is_set():  # it still waits for a server: there are no jobs to release
        await background.end([work])
    stop_requested.cancel()
    with suppress(asyncio.CancelledError):
        await work
    logger.info("service.stopped")


async def _work(service: Service[S, P, D], settings: S, begun: asyncio.Event, stop: asyncio.Event) -> None:
    async with _opened(service, settings) as worker, worker.lease.kept():
        begun.set()
        gc_tuning.tune()
        await worker.run(stop)


@asynccontextmanager
async def _opened(service: Service[S, P, D], settings: S) -> AsyncIterator[Worker[P, D]]:
    worker: Worker[P, D] | None = None
    async with (
        probes.serving(settings, lambda: worker is not None and worker.ready),
        db.connect(settings, service.name, role=role_of(service.name)) as database,
        bus.connect(settings, service.name) as nats_bus,
        service.resources(settings, Platform(database, Blobs(settings))) as deps,
        nats_bus.serving(rpc.subject_pattern(service.name), rpc.serve(service.rpc_handlers, deps)),
    ):
        config.forget_secrets()
        worker = Worker(
            service.name,
            service.payload,
            service.handle,
            deps,
            database=database,
            bus=nats_bus,
            slots=settings.slots,
            grace_s=settings.shutdown_grace_s,
            backoff=service.backoff,
            offers=service.offers and service.offers(deps),
        )
        yield worker


def _stop_on_signals(stop: asyncio.Event) -> None:
    """The first signal requests a stop, the second ends the process at once."""

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
