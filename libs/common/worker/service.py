"""A worker process, from its settings to SIGTERM. The __main__ of each worker service calls `main`."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import uvloop
from pydantic import BaseModel

from libs.common import background, bus, config, db, gc_tuning, log, probes, rpc
from libs.common.backoff import Backoff
from libs.common.blobs import Blobs
from libs.common.config import WorkerSettings
from libs.common.contracts.services import role_of
from libs.common.db import Database
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
    """What the runtime opened for a service."""

    database: Database
    blobs: Blobs


@dataclass(frozen=True, slots=True)
class Service(Generic[S, P, D]):
    """A worker service: its queue's name, its settings, its payloads, and its meaning.

    `resources` opens what `handle` needs, before the first job, and closes it after the last.
    """

    name: str
    settings: type[S]
    payload: type[P]
    resources: Callable[[S, Platform], AbstractAsyncContextManager[D]]
    handle: Callable[[Job[P], D], Awaitable[HandlerResult]]
    backoff: Callable[[str], Backoff] = lambda _kind: DEFAULT_BACKOFF
    """How long a kind of job waits between its tries."""
    rpc_handlers: Mapping[str, RpcHandler[D]] = field(default_factory=dict)
    """What the gateway may call, by name (rpc.py)."""


def main(service: Service[S, P, D]) -> None:
    """Run `service` until SIGTERM or SIGINT."""
    settings = config.load(service.settings)
    if settings.argosy_run_dir is None:
        hide_process_memory()
    log.setup(service.name)
    uvloop.run(_serve(service, settings))


async def _serve(service: Service[S, P, D], settings: S) -> None:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    begun = asyncio.Event()
    working = asyncio.create_task(_work(service, settings, begun, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done() and not begun.is_set():  # it still waits for a server: there is nothing to give back
        await background.end([working])
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await working
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
        bus.connect(settings, service.name) as conveyor,
        service.resources(settings, Platform(database, Blobs(settings))) as deps,
        conveyor.serving(rpc.subject_pattern(service.name), rpc.serve(service.rpc_handlers, deps)),
    ):
        config.forget_secrets()
        worker = Worker(
            service.name,
            service.payload,
            service.handle,
            deps,
            database=database,
            bus=conveyor,
            slots=settings.slots,
            grace_s=settings.shutdown_grace_s,
            backoff=service.backoff,
        )
        yield worker


def _stop_on_signals(stop: asyncio.Event) -> None:
    """The first signal asks, the second forces."""

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
