"""A cache of recognised pages: the same pixels, engine and options are read only once per tenant.

The files of a cached page belong to the job that read it, and are deleted with that job. After that the page is
read again.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from libs.common.contracts.ocr import OcrOptions
from libs.common.db import Connection, Database, fetch_within
from libs.common.worker.job import Effects

METHOD_VERSION = 3
"""To be raised when a change of this service gives different results."""
KEPT_DAYS = 30
"""Days after which an entry is deleted."""
_INSERT = """
INSERT INTO ocr.readings (tenant, digest, folder, summary) VALUES ($1, $2, $3, $4::jsonb)
ON CONFLICT (tenant, digest)
DO UPDATE SET folder = excluded.folder, summary = excluded.summary, read_at = excluded.read_at
"""
_DELETE_OLD = """
DELETE FROM ocr.readings WHERE (tenant, digest) IN (
  SELECT tenant, digest FROM ocr.readings WHERE read_at < now() - $1 * interval '1 day'
  ORDER BY read_at LIMIT 10 FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class CachedPage:
    """A cache entry. `folder`: key prefix of its files in the blob store; `summary`: a PageSummary document."""

    folder: str
    summary: dict[str, Any]


def key_of(pixels: bytes, engine: str, options: OcrOptions, languages: str, dpi: int, media_type: str) -> bytes:
    """Return the cache key. `pixels`: a digest of the page image; `engine`: `tesseract.Engine.identity`."""
    parts = [METHOD_VERSION, pixels.hex(), engine, options.psm, options.dpi, languages, dpi, media_type]
    return hashlib.sha256(orjson.dumps(parts)).digest()


async def find(database: Database, tenant: str, key: bytes) -> CachedPage | None:
    """Look up a page. Raises Unavailable."""
    sql = "SELECT folder, summary FROM ocr.readings WHERE tenant = $1 AND digest = $2"
    rows = await database.fetch(sql, tenant, key)
    return CachedPage(rows[0][0], rows[0][1]) if rows else None


def insert_effects(tenant: str, key: bytes, folder: str, summary: dict[str, Any]) -> Effects:
    """Return effects that insert an entry in the transaction that ends the job, and delete up to 10 old ones."""

    async def effects(connection: Connection) -> None:
        await fetch_within(connection, _INSERT, tenant, key, folder, orjson.dumps(summary).decode())
        await fetch_within(connection, _DELETE_OLD, KEPT_DAYS)

    return effects
