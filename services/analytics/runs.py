"""Jobs that write before they end: step by step, each step a transaction that only the job's holder can commit.

A job's row in analytics.runs says which attempt may write and how far it has come. Every step begins by locking
the row and ends by writing it, so an attempt that has lost its job can change nothing, and the next one goes on
behind the last step. The jobs of the ledger are not locked meanwhile.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from pydantic_core import to_json

from libs.common.contracts.analytics import AnalyticsPayload
from libs.common.db import Connection, Database, fetch_within
from libs.common.worker.job import Effects, Job
from services.analytics.refusals import NoLongerOurs

FORGOTTEN_AFTER_DAYS = 40
_BEGIN = """
INSERT INTO analytics.runs AS r (job, tenant, attempt) VALUES ($1, $2, $3)
ON CONFLICT (job) DO UPDATE SET attempt = excluded.attempt WHERE r.attempt <= excluded.attempt
RETURNING position, figures
"""
_HOLD = "SELECT 1 FROM analytics.runs WHERE job = $1 AND attempt = $2 FOR UPDATE"
_SAVE = "UPDATE analytics.runs SET position = $2, figures = $3::text::jsonb WHERE job = $1"
_END = "DELETE FROM analytics.runs WHERE job = $1"
_FORGET = "DELETE FROM analytics.runs WHERE begun_at < now() - $1 * interval '1 day'"


@dataclass(slots=True)
class Run:
    """How far a job has come: `position` is where it goes on, `figures` is what it counts."""

    job: UUID
    attempt: int
    tenant: str
    position: str
    figures: dict[str, int]

    def count(self, figure: str, number: int) -> None:
        """Add to a figure."""
        self.figures[figure] = self.figures.get(figure, 0) + number


async def begin(database: Database, job: Job[AnalyticsPayload]) -> Run:
    """Begin a job's steps, or go on with them. Raises NoLongerOurs, Unavailable."""
    rows = await database.fetch(_BEGIN, job.id, job.tenant, job.attempt, tenant=job.tenant)
    if not rows:
        raise NoLongerOurs
    ((position, figures),) = rows
    return Run(job.id, job.attempt, job.tenant, position, figures)


@asynccontextmanager
async def step(database: Database, run: Run) -> AsyncIterator[Connection]:
    """A transaction as the job's tenant; what the block has made of `run` is written with it.

    Raises NoLongerOurs, Unavailable.
    """
    async with database.begin(tenant=run.tenant) as connection:
        if not await fetch_within(connection, _HOLD, run.job, run.attempt):
            raise NoLongerOurs
        yield connection
        await fetch_within(connection, _SAVE, run.job, run.position, to_json(run.figures).decode())


def ending(run: Run) -> Effects:
    """The effects that end a run together with its job."""

    async def effects(connection: Connection) -> None:
        await fetch_within(connection, _END, run.job)

    return effects


async def forget_old(database: Database) -> None:
    """Remove the rows of jobs that failed or were cancelled, and can no longer be retried. Raises Unavailable."""
    await database.fetch(_FORGET, FORGOTTEN_AFTER_DAYS)
