"""Jobs of a source that write: `run`, `remap` and `replay`.

A run first maps anew what it must, then reads page by page, then marks what has gone. It stops after a slice, or
where it has to wait for the source, and goes on later where it was; meanwhile it holds no slot.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from libs.common.contracts.sync import (
    PAGES_AT_MOST,
    Format,
    RemapPayload,
    ReplayPayload,
    RunPayload,
    RunResult,
    SyncPayload,
)
from libs.common.db import Database
from libs.common.errors import Reject, Retry
from libs.common.worker.job import Done, Job, Snooze
from services.sync import runs, tombstones
from services.sync.followers import tell_followers
from services.sync.page import Ask, NotModified, Page, Pages
from services.sync.page_writing import judge, target_of, write_page
from services.sync.refusals import SourceStopped, TooLarge, Wait
from services.sync.remapping import Remapper
from services.sync.runs import Ending, Phase, Run
from services.sync.sealing import HeaderSealer
from services.sync.slices import Slice

WAITS_AT_MOST = timedelta(hours=1)
"""For a source that is not to be asked yet. If it takes longer, the run ends without having done anything."""
MOVED_AFTER = 3
"""Runs in a row that were led to the same new address; then that is the source's."""
QUIET_AT_MOST = timedelta(days=1)
"""So rarely a feed is asked that never changes."""

Outcome = Done | Snooze


@dataclass(frozen=True, slots=True)
class Runner:
    """What runs need."""

    database: Database
    pages: Pages
    sealer: HeaderSealer
    slice_s: float

    async def run(self, job: Job[SyncPayload], payload: RunPayload) -> Outcome:
        """Do a run, or a slice of it."""
        return await self._held(job, payload.source, lambda run, slice_: self._go_on(job, payload, run, slice_))

    async def remap(self, job: Job[SyncPayload], payload: RemapPayload) -> Outcome:
        """Map what is kept anew, or a slice of it."""

        async def go_on(run: Run, slice_: Slice) -> Outcome:
            if run.remap and not await Remapper(self.database, self.pages).remap(run, slice_):
                return self._later(job, run)
            return self._done(run, None)

        return await self._held(job, payload.source, go_on)

    async def replay(self, job: Job[SyncPayload], payload: ReplayPayload) -> Outcome:
        """Map what was rejected anew, or a slice of it."""

        async def go_on(run: Run, slice_: Slice) -> Outcome:
            if not await Remapper(self.database, self.pages).replay(run, slice_):
                return self._later(job, run)
            return self._done(run, None)

        return await self._held(job, payload.source, go_on)

    async def _held(
        self, job: Job[SyncPayload], source: UUID, go_on: Callable[[Run, Slice], Awaitable[Outcome]]
    ) -> Outcome:
        """Go on as the holder of the source. What is wrong with it is counted, whatever the engine makes of it."""
        try:
            run = await runs.begin(self.database, job, source)
        except SourceStopped:
            return Done(RunResult(skipped="stopped").model_dump())
        try:
            return await go_on(run, Slice(self.slice_s))
        except Wait as wait:
            return Snooze(max(0.0, (wait.until - datetime.now(UTC)).total_seconds()))
        except (Reject, Retry) as error:
            await runs.note_failure(self.database, job, source, error.code)
            raise

    async def _go_on(self, job: Job[SyncPayload], payload: RunPayload, run: Run, slice_: Slice) -> Outcome:
        progress = run.progress
        if progress.phase is Phase.REMAP:
            if run.remap and not await Remapper(self.database, self.pages).remap(run, slice_):
                return self._later(job, run)
            progress.phase = Phase.PAGES
        if progress.phase is Phase.PAGES and not progress.fetched:
            if (wait := _early_by(run)) > timedelta():
                return self._early(run, wait)
            progress.full = _is_full(run, payload)
        while progress.phase is Phase.PAGES:
            if slice_.over():
                return self._later(job, run)
            await self._page(job, payload, run)
            progress = run.progress
        if progress.phase is Phase.GONE:
            judge(run)
        if progress.phase is Phase.GONE and not await self._mark_gone(job, payload, run, slice_):
            return self._later(job, run)
        return self._done(run, _ending(run))

    async def _page(self, job: Job[SyncPayload], payload: RunPayload, run: Run) -> None:
        progress = run.progress
        if progress.result.pages >= PAGES_AT_MOST:
            raise TooLarge(f"A run can read {PAGES_AT_MOST:,} pages.")
        headers = self.sealer.open(run.secrets, run.tenant, run.source)
        ask = Ask(
            run.tenant, run.spec, headers, progress.page,
            {} if payload.full else run.validators, None if progress.full else run.bookmark,
        )  # fmt: skip
        page = await self.pages.fetch(ask)
        match page:
            case NotModified():
                async with runs.step(self.database, run):
                    run.progress.result.not_modified = True
                    run.progress.validators = run.validators | {page.url: page.validators}
                    run.progress.fresh_until = page.fresh_until
                    run.progress.phase = Phase.END
            case Page():
                try:
                    await write_page(self.database, run, page)
                finally:
                    page.lines.unlink(missing_ok=True)
        _report(job, run)

    async def _mark_gone(self, job: Job[SyncPayload], payload: RunPayload, run: Run, slice_: Slice) -> bool:
        """Mark what a complete source no longer lists, page by page. False: the slice was over before."""
        if run.progress.full and run.spec.complete:
            gone, living = await tombstones.missing(self.database, run)
            if not (payload.accept_shrink or run.progress.may_shrink):
                tombstones.check_shrink(gone=len(gone), living=living, max_gone_ratio=run.spec.max_gone_ratio)
            for start in range(0, len(gone), tombstones.AT_ONCE):
                if slice_.over():
                    return False
                async with runs.step(self.database, run) as connection:
                    run.progress.may_shrink = True
                    keys = gone[start : start + tombstones.AT_ONCE]
                    marked = await tombstones.mark(connection, target_of(run), keys, run.progress.result)
                    await tell_followers(connection, run.tenant, marked)
                _report(job, run)
        return True

    def _early(self, run: Run, wait: timedelta) -> Outcome:
        if wait <= WAITS_AT_MOST:
            return Snooze(wait.total_seconds())
        run.progress.result.skipped = "too_early"
        return self._done(run, None)

    def _done(self, run: Run, kept: Ending | None) -> Done:
        return Done(run.progress.result.model_dump(), effects=runs.ending(run, self.database, kept))

    def _later(self, job: Job[SyncPayload], run: Run) -> Snooze:
        _report(job, run)
        return Snooze(0.0)


def _early_by(run: Run) -> timedelta:
    """How long the source is not to be asked yet."""
    now = datetime.now(UTC)
    return max(timedelta(), (run.not_before or now) - now)


def _is_full(run: Run, payload: RunPayload) -> bool:
    """Whether everything is asked for, and not only what has changed."""
    incremental = run.spec.incremental
    if payload.full or incremental is None or run.bookmark is None or run.full_at is None:
        return True
    return run.full_at <= datetime.now(UTC) - timedelta(days=incremental.full_every_days)


def _ending(run: Run) -> Ending:
    progress, spec, now = run.progress, run.spec, datetime.now(UTC)
    result = progress.result
    has_changed = result.inserted or result.updated or result.returned or result.gone
    quiet = 0 if has_changed else min(run.quiet + 1, 10)
    interval = timedelta(seconds=spec.min_interval_s)
    if spec.format is Format.FEED:
        interval = max(interval, min(interval * 2**quiet, QUIET_AT_MOST))
    not_before = max(now + interval, progress.fresh_until or now)
    moves = 0 if progress.moved_to is None else run.moves + 1 if progress.moved_to == run.moved_to else 1
    moved = moves >= MOVED_AFTER
    bookmark = run.bookmark if result.not_modified else progress.bookmark or run.bookmark
    return Ending(
        progress.validators, bookmark, progress.full and not result.not_modified, not_before,
        None if moved else progress.moved_to, 0 if moved else moves, quiet, progress.moved_to if moved else None,
    )  # fmt: skip


def _report(job: Job[SyncPayload], run: Run) -> None:
    result = run.progress.result
    counts = ", ".join(
        f"{number} {name}" for name, number in result.model_dump().items() if number and name in _TOLD
    )
    job.progress(result.records, None, f"{result.pages} pages: {counts or 'nothing yet'}")


_TOLD = ("inserted", "updated", "unchanged", "returned", "gone", "rejected")
