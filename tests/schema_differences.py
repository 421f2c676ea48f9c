"""What the tables of a database are otherwise than the code describes them."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from libs.common.db import Database


async def schema_differences(database: Database, metadata: MetaData) -> list[Any]:
    """In Alembic's words; none if they are the same."""

    def compared(connection: Connection) -> list[Any]:
        def ours(name: str | None, kind: str, _parents: object) -> bool:
            return kind != "schema" or name == metadata.schema

        options = {"include_schemas": True, "include_name": ours, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.begin() as connection:
        return await connection.run_sync(compared)
