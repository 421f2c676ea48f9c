"""The migrations make exactly the tables the code describes."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from libs.common.db import Database
from libs.common.ledger import tables as ledger
from services.gateway.identity import tables as identity
from services.ocr import tables as ocr


@pytest.mark.parametrize("metadata", [ledger.metadata, identity.metadata, ocr.metadata], ids=lambda m: m.schema)
async def test_the_database_is_what_the_code_says(database: Database, metadata: MetaData) -> None:
    def differences(connection: Connection) -> list[Any]:
        def ours(name: str | None, kind: str, _parents: object) -> bool:
            return kind != "schema" or name == metadata.schema

        options = {"include_schemas": True, "include_name": ours, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.begin() as connection:
        assert await connection.run_sync(differences) == []
