"""Whoever has lost a run can write no more, and the next goes on where it was."""

import os
import random
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.sync import RunPayload, SyncPayload
from libs.common.ledger.jobs import new_id
from libs.common.worker.job import Job
from services.sync import page_writing, runs, tombstones, writing
from services.sync.page import Ask
from services.sync.refusals import NoLongerOurs
from services.sync.runs import Run
from tests.mirroring import left_by
from tests.syncing import Syncer, listing

SEEDS = range(int(os.environ.get("TEST_SEEDS", "5")))
"""`make chaos-sync` tries more."""
POINTS = ("taken", "asked", "in_step", "committed", "marking", "marked", "ending")


def attempt(job: UUID, number: int, source: UUID) -> Job[SyncPayload]:
    """An attempt at a run."""
    return Job(job, number, "acme", "run", SyncPayload(RunPayload(source=source)), lambda _: None)


async def test_an_attempt_that_was_overtaken_changes_nothing(syncer: Syncer) -> None:
    source = await syncer.source()
    first, second = (attempt(new_id(), 1, source) for _ in range(2))
    frozen = await runs.begin(syncer.database, first, source)
    async with runs.step(syncer.database, frozen):
        frozen.progress.part = 3
    again = await runs.begin(syncer.database, replace(first, attempt=2), source)
    assert again.progress.part == 3
    after = await runs.begin(syncer.database, second, source)
    assert after.progress.part == 0
    for lost in (frozen, again):
        with pytest.raises(NoLongerOurs):
            async with runs.step(syncer.database, lost):
                raise AssertionError("it must not get here")
    async with runs.step(syncer.database, after):
        after.progress.part = 1


async def test_an_older_attempt_does_not_take_the_source_back(syncer: Syncer) -> None:
    source, job = await syncer.source(), new_id()
    await runs.begin(syncer.database, attempt(job, 2, source), source)
    with pytest.raises(NoLongerOurs):
        await runs.begin(syncer.database, attempt(job, 1, source), source)


async def test_a_step_that_fails_leaves_nothing(syncer: Syncer) -> None:
    source = await syncer.source()
    run = await runs.begin(syncer.database, attempt(new_id(), 1, source), source)

    async def fail() -> None:
        async with runs.step(syncer.database, run):
            run.progress.part = 7
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert run.progress.part == 0
    ((position,),) = await syncer.database.fetch("SELECT position FROM sync.sources")
    assert position is None


async def test_a_frozen_worker_that_wakes_up_after_another_has_finished(syncer: Syncer) -> None:
    source = await syncer.source()
    frozen = await runs.begin(syncer.database, attempt(new_id(), 1, source), source)
    await syncer.sync(source, listing(1, 2, 3))
    before = await syncer.rows(), await syncer.history()
    syncer.shelf.listed["https://example.org/grants.json"] = [listing(7)]
    page = await syncer.shelf.fetch(Ask("acme", frozen.spec, {}, {}, {}, None))
    with pytest.raises(NoLongerOurs):
        await page_writing.write_page(syncer.database, frozen, page)  # type: ignore[arg-type]
    assert (await syncer.rows(), await syncer.history()) == before


class Killed(Exception):
    """The worker is gone: what it holds is released, and another attempt follows."""


class Reaper:
    """Ends a run at points that chance names, as if its worker had died there."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.left = chance.randrange(3, 9)
        self.met: list[str] = []

    def at(self, point: str) -> None:
        """Perhaps end the run here."""
        if self.left and self.chance.random() < 0.4:
            self.left -= 1
            self.met.append(point)
            raise Killed(point)


def haunt(monkeypatch: pytest.MonkeyPatch, syncer: Syncer, reaper: Reaper) -> None:
    """Put the reaper at all POINTS of all runs."""
    write, mark, begin, ending = writing.write, tombstones.mark, runs.begin, runs.ending

    async def written(*args: Any, **named: Any) -> Any:
        changes = await write(*args, **named)
        reaper.at("in_step")
        return changes

    async def marked(*args: Any, **named: Any) -> Any:
        reaper.at("marking")
        changes = await mark(*args, **named)
        reaper.at("marked")
        return changes

    async def begun(*args: Any) -> Run:
        run = await begin(*args)
        reaper.at("taken")
        return run

    def ended(*args: Any) -> Any:
        effects = ending(*args)

        async def haunted(connection: Any) -> Any:
            told = await effects(connection)
            reaper.at("ending")
            return told

        return haunted

    async def asked(_ask: Ask) -> None:
        reaper.at("asked" if not _ask.position else "committed")

    monkeypatch.setattr(page_writing, "write", written)
    monkeypatch.setattr(tombstones, "mark", marked)
    monkeypatch.setattr(runs, "begin", begun)
    monkeypatch.setattr(runs, "ending", ended)
    syncer.shelf.before = asked


@pytest.mark.parametrize("seed", SEEDS)
async def test_runs_killed_at_any_point_leave_what_undisturbed_ones_leave(
    syncer: Syncer, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - it protects no secret
    monkeypatch.setattr(page_writing, "LINES_AT_ONCE", 5)
    monkeypatch.setattr(tombstones, "AT_ONCE", 2)
    plain, killed = [await syncer.source("grants", tenant, max_gone_ratio=1) for tenant in ("plain", "killed")]
    results = []
    reaper = Reaper(chance)
    for tenant, source in (("plain", plain), ("killed", killed)):
        again = random.Random(seed)  # noqa: S311 - it protects no secret
        if tenant == "killed":
            haunt(monkeypatch, syncer, reaper)
        found = []
        for _ in range(3):
            numbers = again.sample(range(30), again.randrange(5, 30))
            records = [listing(n, title=f"Grant {n} {again.choice('ab')}")[0] for n in numbers]
            records += [{"id": "bad"}, *records[:1]]
            cut = again.randrange(1, len(records))
            reaper.left = chance.randrange(3, 9)
            found.append(await syncer.sync(source, records[:cut], records[cut:], tenant=tenant, max_attempts=25))
        results.append((found, await left_by(syncer, tenant)))
    assert reaper.met
    assert results[0] == results[1]
