"""The schema `identity` as it was migrated holds what its tables say, with defaults and constraints."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, inspect

from libs.common.db import Database
from services.gateway.identity.scopes import Role
from services.gateway.identity.tables import metadata

TABLES = metadata.sorted_tables


async def test_columns_types_and_defaults_are_the_same(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        def ours(name: str | None, kind: str, _parents: object) -> bool:
            return kind != "schema" or name == metadata.schema

        options = {
            "include_schemas": True,
            "include_name": ours,
            "compare_type": True,
            "compare_server_default": True,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.begin() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_constraints_have_the_same_names(database: Database, table: Any) -> None:
    def named(connection: Connection) -> tuple[set[str | None], set[str]]:
        checks = inspect(connection).get_check_constraints(table.name, schema=metadata.schema)
        unique = inspect(connection).get_unique_constraints(table.name, schema=metadata.schema)
        return {check["name"] for check in checks}, {name for one in unique for name in one["column_names"]}

    async with database.begin() as connection:
        checks, unique = await connection.run_sync(named)
    assert checks == {one.name for one in table.constraints if isinstance(one, CheckConstraint)}
    assert unique == {column.name for column in table.columns if column.unique}


@pytest.mark.parametrize("table", ["keys", "accounts"])
async def test_a_role_is_one_that_the_code_knows(database: Database, table: str) -> None:
    """The check in the database and the roles of the code name the same."""
    (row,) = await database.fetch(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", f"{table}_role"
    )
    assert all(f"'{role}'" in row[0] for role in Role)
    assert row[0].count("::text") == len(Role), "and no more"
