"""The sync worker's job handler. Read this first.

A job `run` fetches a source page by page (pages come from `Pages`, page.py) and writes what is new, has changed or
has gone (running.py). `remap` and `replay` map what is kept anew, `preview` writes nothing. `search` writes a
letter of what is new to a saved search. `housekeeping` comes from the fleet's schedule, every night.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from libs.common import metrics
from libs.common.backoff import until_available
from libs.common.contracts.sync import (
    HousekeepingPayload,
    PreviewPayload,
    RemapPayload,
    ReplayPayload,
    RunPayload,
    SearchPayload,
    SyncPayload,
)
from libs.common.db import Database
from libs.common.worker.job import Done, Job, Snooze
from libs.common.worker.service import Platform
from services.sync import changes, search_letters
from services.sync.config import Settings
from services.sync.cursors import Cursors
from services.sync.fetching import fetching
from services.sync.housekeeping import keep_house
from services.sync.page import Pages
from services.sync.previewing import Previewer
from services.sync.running import Runner
from services.sync.runs import OUTCOMES
from services.sync.sealing import HeaderSealer
from services.sync.slices import SLICE_S
from services.sync.success_age import SuccessAge


@dataclass(frozen=True, slots=True)
class Deps:
    """The handler's dependencies."""

    settings: Settings
    database: Database
    cursors: Cursors
    sealer: HeaderSealer
    pages: Pages
    success_age: SuccessAge = field(default_factory=SuccessAge)
    slice_s: float = SLICE_S

    @property
    def runner(self) -> Runner:
        """What does jobs that write."""
        return Runner(self.database, self.pages, self.sealer, self.slice_s)

    @property
    def previewer(self) -> Previewer:
        """What does previews."""
        return Previewer(self.database, self.pages, self.sealer)


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open the dependencies of `handle`."""
    metrics.show_from_the_start(metrics.sync_records, outcome=OUTCOMES)
    await until_available(lambda: changes.adopt(platform.database))
    secret = settings.sync_secret.get_secret_value()
    async with fetching(settings, platform.database) as pages:
        yield Deps(settings, platform.database, Cursors(secret), HeaderSealer(secret), pages)


async def handle(job: Job[SyncPayload], deps: Deps) -> Done | Snooze:
    """Do a job of any kind."""
    match job.payload.root:
        case RunPayload() as payload:
            outcome = await deps.runner.run(job, payload)
            await deps.success_age.look(deps.database)
            return outcome
        case RemapPayload() as payload:
            return await deps.runner.remap(job, payload)
        case ReplayPayload() as payload:
            return await deps.runner.replay(job, payload)
        case PreviewPayload() as payload:
            return await deps.previewer.preview(job, payload)
        case SearchPayload() as payload:
            return await search_letters.write(job, payload, deps.database)
        case HousekeepingPayload():
            return Done(await keep_house(deps.database))
