"""A job `preview`: what the first page of a source would do. Nothing is written."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic_core import from_json, to_json

from libs.common.contracts.sync import PreviewPayload, SourceSpec, SyncPayload
from libs.common.db import Database
from libs.common.worker.job import Done, Job
from services.sync.page import Ask, Page, Pages, Record
from services.sync.refusals import SourceDeleted
from services.sync.sealing import HeaderSealer
from services.sync.writing import batch_of, compare

SHOWN = 20
"""Records, and as many of those that do not pass."""
SUMMARY_SHOWN = 300
_RAW_SHOWN = 2_000
_SOURCE = "SELECT spec, secrets FROM sync.sources WHERE tenant = $1 AND id = $2"


@dataclass(frozen=True, slots=True)
class Previewer:
    """What previews need."""

    database: Database
    pages: Pages
    sealer: HeaderSealer

    async def preview(self, job: Job[SyncPayload], payload: PreviewPayload) -> Done:
        """Read the first page. Result: `records` with what would become of each, and `rejected`.

        Raises SourceDeleted, Wait, Unavailable, and what is wrong with the source.
        """
        rows = await self.database.fetch(_SOURCE, job.tenant, payload.source, tenant=job.tenant)
        if not rows:
            raise SourceDeleted
        spec = SourceSpec.model_validate(rows[0][0])
        headers = self.sealer.open(rows[0][1], job.tenant, payload.source)
        page = await self.pages.fetch(Ask(job.tenant, spec, headers, {}, {}, None))
        if not isinstance(page, Page):
            raise AssertionError("without conditions there is no 304")
        try:
            return Done(await self._told(job.tenant, payload, spec, page))
        finally:
            page.lines.unlink(missing_ok=True)

    async def _told(self, tenant: str, payload: PreviewPayload, spec: SourceSpec, page: Page) -> dict[str, Any]:
        with page.lines.open("rb") as file:
            batch = batch_of(islice(file, 1_000))
        shown = dict(islice(batch.lines.items(), SHOWN))
        would = await compare(self.database, tenant, payload.source, spec.language, shown)
        return {
            "records": [_record(line, *would[key]) for key, line in shown.items()],
            "rejected": [
                one.model_dump(exclude={"raw"}) | {"raw": _cut(one.raw)} for one in batch.refused[:SHOWN]
            ],
            "passed": len(batch.lines),
            "did_not_pass": len(batch.refused),
            "is_last_page": page.next is None,
        }


def _record(line: bytes, would_be: str, fields: dict[str, Any]) -> dict[str, Any]:
    record = Record.model_validate(from_json(line)["record"])
    shown = record.model_dump(mode="json", exclude={"raw", "changed"})
    times = {"opens_at": record.opens_at, "closes_at": record.closes_at}
    return shown | times | {"summary": record.summary[:SUMMARY_SHOWN], "would_be": would_be, "changed": fields}


def _cut(raw: Any) -> Any:
    """What was received, if it is short."""
    return raw if len(to_json(raw)) <= _RAW_SHOWN else None
