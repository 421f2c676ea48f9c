"""The job that counts days anew, after the dimensions or the value of an event type have changed."""

from libs.common.contracts.analytics import AnalyticsPayload, RebuildPayload
from libs.common.db import Connection, Database
from libs.common.worker.job import Done, Job
from services.analytics import recount, runs

_VERSIONS = "SELECT name, version FROM analytics.types WHERE tenant = $1 AND ($2::text IS NULL OR name = $2)"


async def rebuild(job: Job[AnalyticsPayload], payload: RebuildPayload, database: Database) -> Done:
    """Count all days anew that are kept, a day at a time. Raises NoLongerOurs, Unavailable."""
    run = await runs.begin(database, job)
    versions = [
        (row[0], row[1]) for row in await database.fetch(_VERSIONS, job.tenant, payload.event, tenant=job.tenant)
    ]
    names = await recount.names(database, job.tenant) if payload.event is None else [payload.event]
    todo = [(name, day) for name in names for day in await recount.days(database, job.tenant, name)]
    for number, (name, day) in enumerate(todo, 1):
        position = f"{name} {day.isoformat()}"
        if position > run.position:
            async with runs.step(database, run) as connection:
                run.count("drift", await recount.recount_day(connection, job.tenant, name, day))
                run.count("days", 1)
                run.position = position
        job.progress(number, len(todo))

    async def effects(connection: Connection) -> None:
        async with database.as_tenant(connection, job.tenant):
            await recount.mark_rebuilt(connection, job.tenant, versions)
        await runs.ending(run)(connection)

    return Done({"days": run.figures.get("days", 0), "drift": run.figures.get("drift", 0)}, effects=effects)
