"""Runs of a source: page by page, each a transaction that only the run's holder can commit.

The source's own row says which job and which attempt may write, and how far it has come. Every step begins by
locking the row and ends by writing it, so an attempt that has lost its job can change nothing, writers of one
source follow each other, and the next attempt goes on behind the last step. The jobs of the ledger are not locked
meanwhile.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json

from libs.common import metrics
from libs.common.contracts.sync import RunResult, SourceSpec, SyncPayload
from libs.common.db import Connection, Database, fetch_within
from libs.common.worker.job import Effects, Job
from services.sync.page import Position, Validators
from services.sync.refusals import NoLongerOurs, SourceDeleted, SourcePaused, SourceStopped

OUTCOMES = ("inserted", "updated", "unchanged", "returned", "gone", "rejected")
"""Counters of RunResult that are a metric too."""
FAILURES_AT_MOST = 10
"""In a row. Then the source is paused."""
STOPPED = SourceStopped().code
"""Why a source is paused that is gone for good."""
_TAKE = """
UPDATE sync.sources SET run = $3, attempt = $4, position = CASE WHEN run = $3 THEN position END
WHERE tenant = $1 AND id = $2 AND (run IS DISTINCT FROM $3 OR attempt <= $4)
RETURNING spec, secrets, position, validators, bookmark, full_at, not_before, remap, paused, moved_to, moves, quiet
"""
_IS_THERE = "SELECT 1 FROM sync.sources WHERE tenant = $1 AND id = $2"
_FORGET_SEEN = "DELETE FROM sync.seen WHERE tenant = $1 AND source = $2 AND run <> $3"
_NOTE_BEGUN = "INSERT INTO sync.runs (tenant, id, source) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_HOLD = "SELECT 1 FROM sync.sources WHERE tenant = $1 AND id = $2 AND run = $3 AND attempt = $4 FOR UPDATE"
_SAVE = "UPDATE sync.sources SET position = $3::text::jsonb WHERE tenant = $1 AND id = $2"
_MAPPED = "UPDATE sync.sources SET remap = false WHERE tenant = $1 AND id = $2 AND spec = $3::text::jsonb"
_FAIL = """
UPDATE sync.sources SET failures = failures + 1,
  paused = CASE WHEN $5 = $6 OR failures + 1 >= $7 THEN $5 ELSE paused END
WHERE tenant = $1 AND id = $2 AND run = $3 AND attempt = $4
RETURNING failures
"""
_NOTE_FAILED = "UPDATE sync.runs SET ended_at = now(), how = $3 WHERE tenant = $1 AND id = $2"


class Phase(StrEnum):
    """What a run is doing. It goes from each to the next."""

    REMAP = "remap"
    PAGES = "pages"
    GONE = "gone"
    END = "end"


class Progress(BaseModel):
    """How far a run has come; kept in `sources.position`."""

    phase: Phase = Phase.REMAP
    page: Position = {}
    part: int = 0
    """Steps of pages that have been written."""
    lines: int = 0
    """Lines of the page that have been written."""
    after: str | None = None
    """The key, or the number, behind which records are mapped anew."""
    full: bool = False
    bookmark: str | None = None
    """The newest `changed` of all records so far."""
    validators: dict[str, Validators] = {}
    fresh_until: datetime | None = None
    moved_to: str | None = None
    fetched: bool = False
    may_shrink: bool = False
    """It has been decided that what is missing has gone."""
    until: int | None = None
    """The number of the last rejected record to map anew."""
    result: RunResult = RunResult()


@dataclass(slots=True)
class Run:
    """A run that this attempt holds."""

    job: UUID
    attempt: int
    tenant: str
    source: UUID
    spec: SourceSpec
    secrets: bytes | None
    validators: dict[str, Validators]
    bookmark: str | None
    full_at: datetime | None
    not_before: datetime | None
    remap: bool
    moved_to: str | None
    moves: int
    quiet: int
    progress: Progress
    is_new: bool


async def begin(database: Database, job: Job[SyncPayload], source: UUID) -> Run:
    """Begin a run, or go on with it. Raises NoLongerOurs, SourceDeleted, SourcePaused, Unavailable."""
    async with database.begin(tenant=job.tenant) as connection:
        rows = await fetch_within(connection, _TAKE, job.tenant, source, job.id, job.attempt)
        if not rows:
            there = await fetch_within(connection, _IS_THERE, job.tenant, source)
            raise NoLongerOurs if there else SourceDeleted
        ((spec, secrets, position, validators, *facts),) = rows
        await fetch_within(connection, _FORGET_SEEN, job.tenant, source, job.id)
        await fetch_within(connection, _NOTE_BEGUN, job.tenant, job.id, source)
    bookmark, full_at, not_before, remap, paused, moved_to, moves, quiet = facts
    if paused is not None:
        raise SourceStopped if paused == STOPPED else SourcePaused(f"{SourcePaused()} It failed with {paused}.")
    return Run(
        job.id, job.attempt, job.tenant, source, SourceSpec.model_validate(spec), secrets,
        {url: Validators(**one) for url, one in validators.items()},
        bookmark, full_at, not_before, remap, moved_to, moves, quiet,
        Progress.model_validate(position or {}), position is None,
    )  # fmt: skip


@asynccontextmanager
async def step(database: Database, run: Run) -> AsyncIterator[Connection]:
    """A transaction as the run's tenant; what the block has made of `run.progress` is written with it.

    When it has committed, metrics grow as the counters have. If the block raises, `run.progress` is as it was.
    Raises NoLongerOurs, Unavailable.
    """
    before = run.progress.model_copy(deep=True)
    try:
        async with database.begin(tenant=run.tenant) as connection:
            await hold(connection, run)
            yield connection
            await fetch_within(connection, _SAVE, run.tenant, run.source, run.progress.model_dump_json())
    except BaseException:
        run.progress = before
        raise
    for outcome in OUTCOMES:
        grown = getattr(run.progress.result, outcome) - getattr(before.result, outcome)
        metrics.sync_records.labels(outcome).inc(grown)


async def hold(connection: Connection, run: Run) -> None:
    """Lock the run's source until the end of the transaction. Raises NoLongerOurs."""
    if not await fetch_within(connection, _HOLD, run.tenant, run.source, run.job, run.attempt):
        raise NoLongerOurs


async def mark_mapped(connection: Connection, run: Run) -> None:
    """What is kept has been mapped by `run.spec`; if the source has another by now, it is to be mapped again."""
    await fetch_within(connection, _MAPPED, run.tenant, run.source, spec_text(run.spec))


def spec_text(spec: SourceSpec) -> str:
    """A spec as it is stored."""
    return spec.model_dump_json(by_alias=True)


async def note_failure(database: Database, job: Job[SyncPayload], source: UUID, code: str) -> None:
    """Count a failed attempt of the run that `job` holds; after FAILURES_AT_MOST the source is paused.

    Raises Unavailable.
    """
    async with database.begin(tenant=job.tenant) as connection:
        await fetch_within(
            connection, _FAIL, job.tenant, source, job.id, job.attempt, code, STOPPED, FAILURES_AT_MOST
        )
        await fetch_within(connection, _NOTE_FAILED, job.tenant, job.id, code)


_END = """
UPDATE sync.sources SET position = NULL, failures = 0, validators = $5::text::jsonb, bookmark = $6,
  full_at = CASE WHEN $7 THEN now() ELSE full_at END, fetched_at = CASE WHEN $8 THEN now() ELSE fetched_at END,
  succeeded_at = now(), not_before = $9, moved_to = $10, moves = $11, quiet = $12,
  spec = CASE WHEN $13::text IS NULL THEN spec ELSE jsonb_set(spec, '{url}', to_jsonb($13::text)) END
WHERE tenant = $1 AND id = $2 AND run = $3 AND attempt = $4
"""
_LET_GO = """
UPDATE sync.sources SET position = NULL WHERE tenant = $1 AND id = $2 AND run = $3 AND attempt = $4
"""
_FORGET_REJECTED = "DELETE FROM sync.rejected WHERE tenant = $1 AND source = $2 AND run <> $3"
_FORGET_ALL_SEEN = "DELETE FROM sync.seen WHERE source = $2 AND run = $3 AND tenant = $1"
_NOTE_ENDED = """
UPDATE sync.runs SET ended_at = now(), how = 'succeeded', counters = $3::text::jsonb WHERE tenant = $1 AND id = $2
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a source keeps of a run that ended well."""

    validators: dict[str, Validators]
    bookmark: str | None
    full: bool
    not_before: datetime | None
    moved_to: str | None
    moves: int
    quiet: int
    new_url: str | None


def ending(run: Run, database: Database, kept: Ending | None) -> Effects:
    """The effects that end a run together with its job; `kept` None: nothing was fetched."""

    async def effects(connection: Connection) -> dict[str, Any]:
        async with database.as_tenant(connection, run.tenant):
            await hold(connection, run)
            await _end(connection, run, kept)
            await fetch_within(connection, _FORGET_ALL_SEEN, run.tenant, run.source, run.job)
            counters = run.progress.result.model_dump_json()
            await fetch_within(connection, _NOTE_ENDED, run.tenant, run.job, counters)
        return {}

    return effects


async def _end(connection: Connection, run: Run, kept: Ending | None) -> None:
    who = (run.tenant, run.source, run.job, run.attempt)
    if kept is None:
        await fetch_within(connection, _LET_GO, *who)
        return
    if kept.full:  # of the same records, which were rejected again or are not there any more
        await fetch_within(connection, _FORGET_REJECTED, run.tenant, run.source, run.job)
    validators = {
        url: {"etag": one.etag, "last_modified": one.last_modified} for url, one in kept.validators.items()
    }
    await fetch_within(
        connection, _END, *who, json_text(validators), kept.bookmark, kept.full, True, kept.not_before,
        kept.moved_to, kept.moves, kept.quiet, kept.new_url,
    )  # fmt: skip


def json_text(value: Any) -> str:
    """`value` as JSON."""
    return to_json(value).decode()
