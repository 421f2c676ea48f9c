"""Writes a page that has been read: 1,000 lines in a transaction, with everything that follows from them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic_core import from_json

from libs.common.contracts.sync import RECORDS_AT_MOST, RunResult
from libs.common.db import Connection, Database
from services.sync import rejected, repeats, runs, tombstones
from services.sync.followers import tell_followers
from services.sync.page import Page
from services.sync.refusals import MappingFitsBadly, TooLarge
from services.sync.runs import Phase, Progress, Run
from services.sync.writing import Batch, Target, batch_of, newest, write

LINES_AT_ONCE = 1_000
REFUSED_KEPT_AT_MOST = 10_000
"""Of one run; more are only counted."""
JUDGED_FROM = 100
"""Records after which it is judged whether the mapping fits, besides at the end."""


async def write_page(database: Database, run: Run, page: Page) -> None:
    """Write a page, and move the run on to the next one.

    What of it has been written by an attempt before is found unchanged, and is not counted again. Raises
    MappingFitsBadly, TooLarge, NoLongerOurs, Unavailable.
    """
    last = _last_lines(page.lines)
    with page.lines.open("rb") as file:
        start, more = 0, True
        while more:
            lines = list(islice(file, LINES_AT_ONCE))
            more = len(lines) == LINES_AT_ONCE
            batch = batch_of(_without_repeats(lines, start, last))
            batch.repeated += len(lines) - batch.records
            async with runs.step(database, run) as connection:
                await _write(connection, run, batch, counted=start >= run.progress.lines)
                run.progress.lines = max(run.progress.lines, start + len(lines))
                if not more:
                    _turn(run.progress, page)
            start += len(lines)
    if page.next is not None:
        if run.progress.result.records >= JUDGED_FROM:
            judge(run)
        if run.progress.result.records >= RECORDS_AT_MOST:
            raise TooLarge(f"A run can read {RECORDS_AT_MOST:,} records.")


def _last_lines(lines: Path) -> dict[str, int]:
    """As repeats.last_lines; nothing for a page that is written at once, in which it shows anyway."""
    with lines.open("rb") as file:
        if sum(1 for _ in islice(file, LINES_AT_ONCE + 1)) <= LINES_AT_ONCE:
            return {}

    def keys() -> Iterator[str | None]:
        with lines.open("rb") as file:
            for line in file:
                yield (from_json(line).get("record") or {}).get("key")

    return repeats.last_lines(keys)


def _without_repeats(lines: list[bytes], start: int, last: dict[str, int]) -> Iterator[bytes]:
    for number, line in enumerate(lines, start):
        key = (from_json(line).get("record") or {}).get("key") if last else None
        if key is None or last.get(key, number) == number:
            yield line


async def _write(connection: Connection, run: Run, batch: Batch, *, counted: bool) -> None:
    progress = run.progress
    result = progress.result if counted else RunResult()
    changes = await write(connection, target_of(run), batch, result)
    await tell_followers(connection, run.tenant, changes)
    if progress.full and run.spec.complete:
        listed = [*batch.lines, *(one.key for one in batch.refused if one.key is not None)]
        await tombstones.see(connection, run, progress.part, listed)
    progress.part += 1
    progress.bookmark = newest(progress.bookmark, batch.newest)
    if counted:
        room = max(0, REFUSED_KEPT_AT_MOST - result.rejected)
        await rejected.keep(connection, run.tenant, run.source, run.job, batch.refused[:room])
        result.records += batch.records
        result.repeated += batch.repeated
        result.rejected += len(batch.refused)
    else:
        progress.result.inserted += result.inserted
        progress.result.updated += result.updated
        progress.result.returned += result.returned


def target_of(run: Run) -> Target:
    """Where a run writes."""
    return Target(run.tenant, run.source, run.job, run.spec.language)


def _turn(progress: Progress, page: Page) -> None:
    """Go on with the page after this one."""
    progress.result.pages += 1
    if not progress.fetched:
        progress.moved_to = page.moved_to
    progress.fetched = True
    progress.lines = 0
    if not progress.page and page.next is None:  # else the first page says nothing of the others
        progress.validators[page.url] = page.validators
    if page.fresh_until is not None:
        progress.fresh_until = max(progress.fresh_until or page.fresh_until, page.fresh_until)
    if page.next is None:
        progress.phase = Phase.GONE
    else:
        progress.page = page.next


def judge(run: Run) -> None:
    """Raises MappingFitsBadly if more than half of the records so far do not pass."""
    result = run.progress.result
    if result.rejected * 2 > result.records:
        raise MappingFitsBadly(
            f"{result.rejected} of {result.records} records do not pass. Look at those rejected."
        )
