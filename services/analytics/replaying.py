"""The job that tries rejected events once more, such as after their type was changed or a clock was set right."""

import asyncio
from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

from libs.common.contracts.analytics import AnalyticsPayload, EventsResult, Reason, ReplayPayload
from libs.common.db import Connection, Database
from libs.common.worker.job import Done, Job
from services.analytics import counting, event_types, incoming, rejected, runs
from services.analytics.counting import SubjectHashes
from services.analytics.incoming import Event, Refused

AT_ONCE = 500
"""Rejected events of one transaction."""
FIGURES = ("counted", "duplicates", "rejected", "conflicts", "late")


async def replay(
    job: Job[AnalyticsPayload], payload: ReplayPayload, database: Database, hashes: SubjectHashes
) -> Done:
    """Count the rejected events that are fine by now, and remove them. Raises NoLongerOurs, Unavailable."""
    run = await runs.begin(database, job)
    while True:
        async with runs.step(database, run) as connection:
            after = int(run.position or 0)
            rows = await rejected.next_to_replay(connection, job.tenant, after, payload.reason, AT_ONCE)
            if not rows:
                break
            result = await _replay(connection, job.tenant, rows, hashes)
            for figure in FIGURES:
                run.count(figure, getattr(result, figure))
            for reason, number in result.reasons.items():
                run.count(f"reasons.{reason}", number)
            run.position = str(rows[-1][0])
        job.progress(sum(run.figures.get(figure, 0) for figure in FIGURES[:3]), None)
    reasons = {
        name.removeprefix("reasons."): number
        for name, number in run.figures.items()
        if name.startswith("reasons.")
    }
    totals = {figure: run.figures.get(figure, 0) for figure in FIGURES}
    return Done({**totals, "reasons": reasons}, effects=runs.ending(run))


async def _replay(connection: Connection, tenant: str, rows: list[Any], hashes: SubjectHashes) -> EventsResult:
    """Those received at the same moment were received together, and are judged by it."""
    received: defaultdict[datetime, list[tuple[int, Any]]] = defaultdict(list)
    for number, event, at in rows:
        received[at].append((number, event))
    total, removed, refused = EventsResult(), list[int](), list[tuple[int, Refused]]()
    for at, numbered in received.items():
        number_of = {id(event): number for number, event in numbered}
        outcome = await _count(connection, tenant, [event for _, event in numbered], at, hashes)
        still = {number_of[id(one.event)]: one for one in outcome.refused if one.reason is not Reason.ERASED}
        refused += still.items()
        removed += number_of.values() - still.keys()
        for figure in FIGURES:
            setattr(total, figure, getattr(total, figure) + getattr(outcome.result, figure))
        total.reasons = dict(Counter(total.reasons) + Counter(outcome.result.reasons))
    await rejected.remove(connection, tenant, removed)
    await rejected.still_refused(connection, tenant, refused)
    return total


async def _count(
    connection: Connection, tenant: str, sent: list[Any], received_at: datetime, hashes: SubjectHashes
) -> counting.Outcome:
    read: list[Event | Refused] = [incoming.read(one, received_at) for one in sent]
    types = await event_types.known_within(connection, tenant, counting.names_of(read))
    checked = await asyncio.to_thread(counting.check, read, types)
    return await counting.count(connection, tenant, read, checked, received_at, hashes)
