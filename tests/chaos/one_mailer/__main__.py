"""python -m tests.chaos.one_mailer QUEUE JOB: the mailer's handler on a queue of its own, until that job's end.

A package, as services are: a sandboxed process imports the main module of its worker unless that is `__main__`.
"""

import asyncio
import sys
from uuid import UUID

import uvloop

from libs.common import background, bus, db, log
from libs.common.blobs import Blobs
from libs.common.config import load
from libs.common.contracts.mail import MailPayload
from libs.common.contracts.services import MAILER
from libs.common.worker.service import Platform
from libs.common.worker.worker import Worker
from services.mailer.config import Settings
from services.mailer.handler import handle, resources


async def main(queue: str, job: UUID) -> None:
    """Work until there is nothing left to do."""
    settings, stop = load(Settings), asyncio.Event()
    async with (
        db.connect(settings, queue, role=MAILER.role) as database,
        bus.connect(settings, queue) as conveyor,
        resources(settings, Platform(database, Blobs(settings))) as deps,
    ):

        async def watch() -> None:
            while not await database.fetch(
                "SELECT FROM ledger.jobs WHERE id = $1 AND finished_at IS NOT NULL", job
            ):
                await asyncio.sleep(0.1)
            stop.set()

        worker = Worker(queue, MailPayload, handle, deps, database=database, bus=conveyor, slots=1, grace_s=5)
        async with background.alongside(background.optional(watch())), worker.lease.kept():
            await worker.run(stop)


if __name__ == "__main__":
    log.setup("mailer")
    uvloop.run(main(sys.argv[1], UUID(hex=sys.argv[2])))
