"""Maps what is kept anew, without a fetch: all of a source after a change of its mapping, or what was rejected."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import from_json, to_json

from libs.common.db import Database
from services.sync import rejected, runs, tombstones
from services.sync.followers import tell_followers
from services.sync.page import Pages
from services.sync.page_writing import target_of
from services.sync.runs import Phase, Run
from services.sync.slices import Slice
from services.sync.writing import batch_of, write

AT_ONCE = 1_000
_KEPT = """
SELECT key, raw FROM sync.opportunities
WHERE tenant = $1 AND source = $2 AND key > $3 AND gone_at IS NULL ORDER BY key LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Remapper:
    """What mapping anew needs."""

    database: Database
    pages: Pages

    async def remap(self, run: Run, slice_: Slice) -> bool:
        """Map all opportunities of a source anew. False: the slice was over before. Raises Unavailable."""
        while not slice_.over():
            after = run.progress.after or ""
            rows = await self.database.fetch(_KEPT, run.tenant, run.source, after, AT_ONCE, tenant=run.tenant)
            if not rows:
                async with runs.step(self.database, run) as connection:
                    await runs.mark_mapped(connection, run)
                    run.progress.after, run.progress.phase = None, Phase.PAGES
                return True
            async with self._mapped(run, [row[1] for row in rows]) as lines:
                await self._write_anew(run, [row[0] for row in rows], lines)
        return False

    async def _write_anew(self, run: Run, keys: Sequence[str], lines: Sequence[bytes]) -> None:
        """What has another key now is another opportunity: that of the old key is gone."""
        batch = batch_of(lines)
        left = [
            key
            for key, line in zip(keys, lines, strict=True)
            if (record := from_json(line).get("record")) is not None and record["key"] != key
        ]
        async with runs.step(self.database, run) as connection:
            result = run.progress.result
            changes = await write(connection, target_of(run), batch, result)
            if gone := [key for key in left if key not in batch.lines]:
                changes += await tombstones.mark(connection, target_of(run), gone, result, first=len(changes) + 1)
            await tell_followers(connection, run.tenant, changes)
            await rejected.keep(connection, run.tenant, run.source, run.job, batch.refused)
            result.records += batch.records
            result.rejected += len(batch.refused)
            run.progress.after = keys[-1]

    async def replay(self, run: Run, slice_: Slice) -> bool:
        """Map the rejected records of a source anew. False: the slice was over before. Raises Unavailable."""
        if run.progress.until is None:
            run.progress.until = await rejected.last_number(self.database, run.tenant, run.source)
        while not slice_.over():
            after, until = int(run.progress.after or 0), run.progress.until
            kept = await rejected.behind(self.database, run.tenant, run.source, after, until, AT_ONCE)
            if not kept:
                return True
            async with self._mapped(run, [one.raw for one in kept]) as lines:
                batch = batch_of(lines)
                async with runs.step(self.database, run) as connection:
                    result = run.progress.result
                    changes = await write(connection, target_of(run), batch, result)
                    await tell_followers(connection, run.tenant, changes)
                    await rejected.remove(connection, run.tenant, run.source, [one.number for one in kept])
                    await rejected.keep(connection, run.tenant, run.source, run.job, batch.refused)
                    result.records += batch.records
                    result.repeated += batch.repeated
                    result.rejected += len(batch.refused)
                    run.progress.after = str(kept[-1].number)
        return False

    @asynccontextmanager
    async def _mapped(self, run: Run, raws: Sequence[object]) -> AsyncIterator[list[bytes]]:
        with tempfile.TemporaryDirectory(prefix="argosy-sync-") as folder:
            kept = Path(folder) / "kept"
            await asyncio.to_thread(kept.write_bytes, b"".join(to_json(raw) + b"\n" for raw in raws))
            mapped = await self.pages.map_anew(run.spec, kept)
            try:
                yield await asyncio.to_thread(lambda: mapped.read_bytes().splitlines(keepends=True))
            finally:
                mapped.unlink(missing_ok=True)
