"""While a day is recounted its events wait, and that is no failure of theirs."""

import asyncio
from collections.abc import Iterable
from datetime import date, timedelta

import pytest

from libs.common.db import Connection
from libs.common.errors import Unavailable
from services.analytics import locks
from tests.analysing import NOW, Analyst, event
from tests.polling import until


async def test_counting_is_tried_again_without_a_failure(
    analyst: Analyst, monkeypatch: pytest.MonkeyPatch
) -> None:
    share, refused = locks.share, list[str]()

    async def watched(connection: Connection, tenant: str, days: Iterable[date]) -> None:
        try:
            await share(connection, tenant, days)
        except Unavailable:
            refused.append(tenant)
            raise

    async def was_refused_twice() -> bool:
        return len(refused) >= 2

    async def other_has_ended() -> bool:
        return bool((await analyst.facts(other_day))["finished_at"])

    monkeypatch.setattr(locks, "share", watched)
    job = await analyst.send([event("a")])
    other_day = await analyst.send([event("b", at=NOW - timedelta(days=2))])
    async with analyst.database.begin(tenant="acme") as connection:
        await locks.keep_out(connection, "acme", NOW.date())
        working = asyncio.create_task(analyst.work())
        await until(was_refused_twice)
        await until(other_has_ended)
        assert (await analyst.facts(job))["state"] == "running"
    await working
    facts = await analyst.facts(job)
    assert (facts["state"], facts["attempt"], facts["errors"]) == ("succeeded", 1, None)


async def test_a_tenant_is_kept_out_as_a_whole_and_alone(analyst: Analyst) -> None:
    async with analyst.database.begin(tenant="acme") as alone, analyst.database.begin(tenant="acme") as counting:
        await locks.share(counting, "another", [NOW.date()])
        await locks.keep_out_all(alone, "acme")
        await locks.share(counting, "another", [NOW.date()])
        with pytest.raises(Unavailable):
            await locks.share(counting, "acme", [])
