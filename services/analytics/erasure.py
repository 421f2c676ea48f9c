"""Erases a person: no row names the subject any more, and a late copy of an event stays out.

What has been counted stays counted, as it names nobody; on request the days are counted anew. The hash of the
subject is written first. As counting is kept out meanwhile, no event of the subject can slip in behind the
deletion.
"""

from libs.common.contracts.analytics import AnalyticsPayload, ErasePayload
from libs.common.db import Database, fetch_within
from libs.common.worker.job import Done, Job
from services.analytics import locks, partitions, recount, rejected, rollups, runs
from services.analytics.counting import SubjectHashes
from services.analytics.runs import Run

# Events may have a time that is yet to come: those stay out too.
_REMEMBER = """
INSERT INTO analytics.erased AS e (tenant, subject_hash, before)
SELECT $1, $3, greatest(now(), max(at)) FROM analytics.events WHERE tenant = $1 AND subject = $2
ON CONFLICT (tenant, subject_hash) DO UPDATE SET before = greatest(e.before, excluded.before)
"""
_DELETE = f"""
WITH e AS (
  DELETE FROM analytics.events WHERE tenant = $1 AND subject = $2 AND day >= $3 AND day < $4
  RETURNING name, at, properties),
{rollups.CELLS}
SELECT (SELECT count(*) FROM e), {rollups.CELLS_AS_COLUMNS} FROM cells
"""  # noqa: S608 - made of constants
_TO_RECOUNT = """
SELECT DISTINCT name, (hour AT TIME ZONE 'UTC')::date FROM analytics.rollups
WHERE tenant = $1 AND dim = '' AND hour >= $2 AND erased > 0 ORDER BY 1, 2
"""


async def erase(
    job: Job[AnalyticsPayload], payload: ErasePayload, database: Database, hashes: SubjectHashes
) -> Done:
    """Erase a subject, a month at a time. Raises NoLongerOurs, Unavailable."""
    run = await runs.begin(database, job)
    months = await partitions.months(database)
    async with runs.step(database, run) as connection:
        await locks.keep_out_all(connection, job.tenant)
        hash_ = hashes.of(job.tenant, payload.subject)
        await fetch_within(connection, _REMEMBER, job.tenant, payload.subject, hash_)
        run.count("rejected", await rejected.erase(connection, job.tenant, payload.subject))
    for number, month in enumerate(months, 1):
        if month.isoformat() > run.position:
            async with runs.step(database, run) as connection:
                await locks.keep_out_all(connection, job.tenant)
                ((gone, *columns),) = await fetch_within(
                    connection, _DELETE, job.tenant, payload.subject, month, partitions.month_after(month)
                )
                await rollups.note_erased(connection, job.tenant, rollups.cells_of(columns))
                run.count("erased", gone)
                run.position = month.isoformat()
        job.progress(number, len(months))
    if payload.rebuild and months:
        await _recount(database, run, recount.midnight(months[0]))
    result = {"erased": run.figures.get("erased", 0), "rejected": run.figures.get("rejected", 0)}
    return Done(result, effects=runs.ending(run), forget_payload=True)


async def _recount(database: Database, run: Run, since: object) -> None:
    """Count the days anew of which something has been erased. A day that is done is no longer among them."""
    for name, day in await database.fetch(_TO_RECOUNT, run.tenant, since, tenant=run.tenant):
        async with runs.step(database, run) as connection:
            await recount.recount_day(connection, run.tenant, name, day)
