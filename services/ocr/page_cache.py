"""Pages read before: the same pixels, engine and options, for the same tenant, are not read again.

A reading's files lie with the job that made it and go when that goes; then the page is simply read anew.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from libs.common.contracts.ocr import OcrOptions
from libs.common.db import Connection, Database, fetch_within
from libs.common.worker.job import Effects

METHOD = 1
"""Raised when this service begins to read differently."""
KEPT_DAYS = 30
_ENTER = """
INSERT INTO ocr.readings (tenant, digest, folder, summary) VALUES ($1, $2, $3, $4::jsonb)
ON CONFLICT (tenant, digest)
DO UPDATE SET folder = excluded.folder, summary = excluded.summary, read_at = excluded.read_at
"""
_SWEEP = """
DELETE FROM ocr.readings WHERE (tenant, digest) IN (
  SELECT tenant, digest FROM ocr.readings WHERE read_at < now() - $1 * interval '1 day'
  ORDER BY read_at LIMIT 10 FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class CachedPage:
    """A reading: the folder of its files in the blob store, and the page in figures."""

    folder: str
    summary: dict[str, Any]


def key_of(pixels: bytes, engine: str, options: OcrOptions, languages: str, dpi: int, media_type: str) -> bytes:
    """What a reading is found by. `pixels`: a digest of the page's picture; `engine`: see `tesseract.Engine`."""
    parts = [METHOD, pixels.hex(), engine, options.psm, options.dpi, languages, dpi, media_type]
    return hashlib.sha256(orjson.dumps(parts)).digest()


async def find(database: Database, tenant: str, key: bytes) -> CachedPage | None:
    """The reading of such a page, if there is one. Raises Unavailable."""
    sql = "SELECT folder, summary FROM ocr.readings WHERE tenant = $1 AND digest = $2"
    rows = await database.fetch(sql, tenant, key)
    return CachedPage(rows[0][0], rows[0][1]) if rows else None


def entered(tenant: str, key: bytes, folder: str, summary: dict[str, Any]) -> Effects:
    """Enter a reading, in the transaction that ends its job. Old ones are swept out on the way."""

    async def effects(connection: Connection) -> None:
        await fetch_within(connection, _ENTER, tenant, key, folder, orjson.dumps(summary).decode())
        await fetch_within(connection, _SWEEP, KEPT_DAYS)

    return effects
