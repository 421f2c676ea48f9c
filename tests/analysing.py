"""The analytics worker as tests use it: with real servers, and brute force to compare its numbers with."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from libs.common import db, rpc
from libs.common.blobs import Blobs
from libs.common.bus import Bus
from libs.common.config import BlobSettings, DatabaseSettings
from libs.common.contracts.analytics import AnalyticsPayload
from libs.common.contracts.services import ANALYTICS
from libs.common.db import Database
from libs.common.handler_testkit import drain
from libs.common.ledger import jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob
from libs.common.worker.service import Platform
from services.analytics import rpc_handlers, sketches
from services.analytics.config import Settings
from services.analytics.handler import Deps, handle, resources
from tests.working import working

NOW = datetime.now(UTC).replace(microsecond=0)
SECRET = "not a secret, but long enough to be one"  # noqa: S105
Event = dict[str, Any]


def event(
    id_: str, name: str = "view", *, at: datetime = NOW, subject: str | None = "u1", **properties: Any
) -> Event:
    """An event as a caller sends it."""
    return {"id": id_, "name": name, "time": at.isoformat(), "subject": subject, "properties": properties}


def settings_of(folder: Path, **given: Any) -> Settings:
    """The worker's settings; servers are reached otherwise."""
    required = {
        "database_url": "x",
        "nats_url": "nats://x",
        "blob_url": folder.as_uri(),
        "analytics_secret": SECRET,
    }
    return Settings.model_validate(required | given)


@dataclass(frozen=True, slots=True)
class Analyst:
    """A worker whose jobs run when a test says so."""

    database: Database
    gateway: Database
    bus: Bus
    deps: Deps

    async def submit(self, payload: BaseModel, *, tenant: str = "acme", max_attempts: int = 5) -> NewJob:
        """Accept a job, as the gateway does."""
        kind = AnalyticsPayload.model_validate(payload.model_dump()).root.kind
        text = payload.model_dump_json(by_alias=True).encode()
        job = NewJob(tenant, "key", "analytics", kind, text, max_attempts=max_attempts)
        await accept(self.gateway, [job], ticketed=[False])
        return job

    async def send(
        self, events: Sequence[Any], *, tenant: str = "acme", received_at: datetime | None = None
    ) -> NewJob:
        """Accept a job with these events."""
        payload = {
            "kind": "events",
            "received_at": (received_at or datetime.now(UTC)).isoformat(),
            "events": events,
        }
        job = NewJob(tenant, "key", "analytics", "events", to_json(payload))
        await accept(self.gateway, [job], ticketed=[False])
        return job

    async def work(self, workers: int = 1) -> None:
        """Run all jobs that wait, with so many workers at once."""
        await asyncio.gather(
            *(
                drain(self.database, self.bus, "analytics", AnalyticsPayload, handle, self.deps)
                for _ in range(workers)
            )
        )

    async def facts(self, job: NewJob) -> dict[str, Any]:
        """What the ledger says of a job."""
        found = await jobs.find(self.gateway, job.tenant, job.id)
        assert found is not None
        return dict(found)

    async def finish(self, job: NewJob) -> dict[str, Any]:
        """Work, and return the job's result."""
        await self.work()
        facts = await self.facts(job)
        assert facts["state"] == "succeeded", facts["errors"]
        result: dict[str, Any] = facts["result"]
        return result

    async def count(self, events: Sequence[Any], **how: Any) -> dict[str, Any]:
        """Send events, and return what became of them."""
        return await self.finish(await self.send(events, **how))

    async def run(self, payload: BaseModel, **how: Any) -> dict[str, Any]:
        """Run a job, and return its result."""
        return await self.finish(await self.submit(payload, **how))

    async def ask(self, call: str, tenant: str = "acme", /, **request: Any) -> dict[str, Any]:
        """What the gateway is told."""
        return await rpc_handlers.HANDLERS[call](tenant, request, self.deps)

    async def type(self, name: str, tenant: str = "acme", /, **facts: Any) -> dict[str, Any]:
        """Describe an event type."""
        return await self.ask("put_type", tenant, name=name, **facts)

    async def points(self, tenant: str = "acme", /, **query: Any) -> list[list[Any]]:
        """The points of a query without breakdown."""
        (series,) = (await self.ask("query", tenant, **query))["series"]
        points: list[list[Any]] = series["points"]
        return points

    async def rollups(self, tenant: str = "acme") -> dict[tuple[str, str, datetime, str], tuple[int, float]]:
        """All rollups of a tenant: count and sum by name, dimension, hour and value."""
        rows = await self.database.fetch(
            "SELECT name, dim, hour, value, count, sum FROM analytics.rollups WHERE tenant = $1", tenant
        )
        return {tuple(row[:4]): (row[4], float(row[5])) for row in rows}

    async def estimates(self, tenant: str = "acme") -> dict[tuple[str, date], int]:
        """What the sketches of a tenant say."""
        rows = await self.database.fetch(
            "SELECT name, day, sketch FROM analytics.uniques WHERE tenant = $1", tenant
        )
        return {(row[0], row[1]): sketches.estimate([row[2]]) for row in rows}


@asynccontextmanager
async def analysing(
    database: Database, gateway: Database, bus: Bus, folder: Path, **given: Any
) -> AsyncIterator[Analyst]:
    """A worker with these settings."""
    settings = settings_of(folder, **given)
    blobs = Blobs(BlobSettings.model_validate({"blob_url": folder.as_uri()}))
    async with resources(settings, Platform(database, blobs)) as deps:
        yield Analyst(database, gateway, bus, deps)


@asynccontextmanager
async def answering(database_settings: DatabaseSettings, bus: Bus, folder: Path) -> AsyncIterator[Deps]:
    """Questions are answered while the block runs. `folder` is that of the blob store."""
    async with (
        db.connect(database_settings, ANALYTICS.name, role=ANALYTICS.role) as database,
        analysing(database, database, bus, folder) as made,
        bus.serving(rpc.subject_pattern(ANALYTICS.name), rpc.serve(rpc_handlers.HANDLERS, made.deps)),
    ):
        yield made.deps


@asynccontextmanager
async def counting(database_settings: DatabaseSettings, bus: Bus, folder: Path) -> AsyncIterator[None]:
    """A worker that also does jobs while the block runs. Somebody else hands them out."""
    async with (
        answering(database_settings, bus, folder) as deps,
        working(ANALYTICS, AnalyticsPayload, handle, deps, database=deps.database, bus=bus, slots=2),
    ):
        yield


def generated(chance: random.Random, number: int, *, days: int = 3) -> list[Event]:
    """Different events with few subjects and pages, over the last days."""
    return [
        event(
            f"e{number_}",
            chance.choice(("view", "click")),
            at=NOW - timedelta(seconds=chance.randrange(days * 86_400)),
            subject=chance.choice((None, *(f"u{n}" for n in range(20)))),
            page=chance.choice(("/", "/jobs", "/help", None)),
            amount=chance.choice((0.1, 2, 12.5)),
        )
        for number_ in range(number)
    ]


def overlapping(chance: random.Random, events: Sequence[Event], batches: int) -> list[list[Event]]:
    """Batches that together have every event, many of them several times, in any order."""
    made = [chance.sample(events, chance.randrange(1, len(events))) for _ in range(batches)]
    missing = [one for one in events if not any(one in batch for batch in made)]
    made += [missing] if missing else []
    for batch in made:
        batch += chance.choices(batch, k=len(batch) // 5)
        chance.shuffle(batch)
    return made


@dataclass(frozen=True, slots=True)
class Expected:
    """What brute force says of events."""

    rollups: dict[tuple[str, str, datetime, str], tuple[int, float]]
    estimates: dict[tuple[str, date], int]


def brute_force(events: Iterable[Event], dimensions: Sequence[str] = (), value: str | None = None) -> Expected:
    """Count each different event once; all have the same dimensions."""
    counts: Counter[tuple[str, str, datetime, str]] = Counter()
    sums: defaultdict[tuple[str, str, datetime, str], float] = defaultdict(float)
    subjects: defaultdict[tuple[str, date], set[str]] = defaultdict(set)
    different = {(one["id"], one["time"][:10]): one for one in events}
    for one in different.values():
        at = datetime.fromisoformat(one["time"]).astimezone(UTC)
        hour = at.replace(minute=0, second=0, microsecond=0)
        properties = one["properties"]
        for dim, shown in [("", ""), *((dim, properties[dim] or "") for dim in dimensions)]:
            key = one["name"], dim, hour, shown
            counts[key] += 1
            sums[key] += properties[value] if value else 0
        if one["subject"] is not None:
            subjects[one["name"], at.date()].add(one["subject"])
    return Expected(
        {key: (count, round(sums[key], 6)) for key, count in counts.items()},
        {key: sketches.estimate([sketches.sketch_of(of_day)]) for key, of_day in subjects.items()},
    )
