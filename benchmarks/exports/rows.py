"""The rows that are exported: opportunities with ten columns of every type."""

from typing import Any

from libs.common.contracts.exports import ExportRequest
from libs.common.db import Database
from libs.common.ledger.jobs import new_id

TENANT = "bench"
COLUMNS = (
    *("id", "title", "agency", "summary", "opens_at", "closes_at", "amount_min", "revision", "extra", "status"),
)
FORMATS = ("csv", "jsonl", "xlsx", "parquet")
BATCH = 50_000
_FILL = """
INSERT INTO sync.opportunities (tenant, id, source, key, title, summary, url, agency, opens_at, closes_at,
  amount_min, extra, raw, language, digest, first_run, last_run)
SELECT $1, gen_random_uuid(), $2, n::text, 'Grant ' || n || ' & more', repeat('word ', 10 + n % 20), NULL,
  'Agency ' || n % 100, now() - n * interval '1 minute', now() + n * interval '1 minute', n * 1.25,
  jsonb_build_object('category', n % 7, 'name', 'x'), '{}', 'simple', '', $2, $2
FROM generate_series($3::int, $4::int) n
"""


async def fill(owner: Database, tenant: str, rows: int) -> None:
    """Give `tenant` so many rows."""
    await owner.fetch("DROP INDEX IF EXISTS sync.opportunities_by_words")  # no export uses it
    source = new_id()
    for first in range(1, rows + 1, BATCH):
        await owner.fetch(_FILL, tenant, source, first, min(rows, first + BATCH - 1), timeout_s=600)
    await owner.fetch("VACUUM ANALYZE sync.opportunities", timeout_s=600)


def request_of(format_: str, **options: Any) -> ExportRequest:
    """The same export in each format."""
    return ExportRequest.model_validate(
        {"dataset": "opportunities", "format": format_, "columns": COLUMNS, "options": options}
    )
