"""Pages read before: the same pixels, engine and options, for the same tenant, are not read again.

A reading's files lie with the job that made it and go when that goes; then the page is simply read anew.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy.dialects.postgresql import insert

from libs.common.contracts.ocr import OcrOptions
from libs.common.db import Connection, Database
from libs.common.job import Effects
from services.ocr.tables import readings

METHOD = 1
"""Raised when this service begins to read differently."""


@dataclass(frozen=True, slots=True)
class Known:
    """A reading: the folder of its files in the blob store, and the page in figures."""

    folder: str
    summary: dict[str, Any]


def key_of(pixels: bytes, engine: str, options: OcrOptions, languages: str, dpi: int) -> bytes:
    """What a reading is found by. `pixels`: a digest of the page's picture; `engine`: see `tesseract.identity`."""
    parts = [METHOD, pixels.hex(), engine, options.psm, options.dpi, languages, dpi]
    return hashlib.sha256(orjson.dumps(parts)).digest()


async def find(database: Database, tenant: str, key: bytes) -> Known | None:
    """The reading of such a page, if there is one. Raises Unavailable."""
    sql = "SELECT folder, summary FROM ocr.readings WHERE tenant = $1 AND digest = $2"
    rows = await database.fetch(sql, tenant, key)
    return Known(rows[0][0], rows[0][1]) if rows else None


def entered(tenant: str, key: bytes, folder: str, summary: dict[str, Any]) -> Effects:
    """Enter a reading, in the transaction that ends its job. Old ones are swept out on the way."""

    async def effects(connection: Connection) -> None:
        row = {"tenant": tenant, "digest": key, "folder": folder, "summary": summary}
        fresh = insert(readings).values(row)
        await connection.execute(
            fresh.on_conflict_do_update(
                index_elements=["tenant", "digest"], set_={"folder": folder, "summary": summary}
            )
        )

    return effects
