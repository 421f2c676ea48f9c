"""A document counts once."""

import pytest

from libs.common.db import Database
from libs.common.ledger.jobs import new_id

COUNT = "INSERT INTO ocr.documents (job_id, tenant, pages, pages_recognised) VALUES ($1, 'dev', 1, 1)"


async def test_a_document_counts_once_however_often_it_was_tried(database: Database) -> None:
    job = new_id()
    await database.fetch(COUNT, job)
    with pytest.raises(Exception, match="documents_pkey"):
        await database.fetch(COUNT, job)
    assert (await database.fetch("SELECT count(*) FROM ocr.documents"))[0][0] == 1
