"""The OCR service's tables are those that the migrations make, and a document counts once."""

import pytest

from libs.common.db import Database
from libs.common.ledger.jobs import new_id
from services.ocr.tables import metadata
from tests.schema_differences import schema_differences

COUNT = "INSERT INTO ocr.documents (job_id, tenant, pages, pages_recognised) VALUES ($1, 'dev', 1, 1)"


async def test_the_database_is_what_the_code_says(database: Database) -> None:
    assert await schema_differences(database, metadata) == []


async def test_a_document_counts_once_however_often_it_was_tried(database: Database) -> None:
    job = new_id()
    await database.fetch(COUNT, job)
    with pytest.raises(Exception, match="documents_pkey"):
        await database.fetch(COUNT, job)
    assert (await database.fetch("SELECT count(*) FROM ocr.documents"))[0][0] == 1
