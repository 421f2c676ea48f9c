"""Every service's tables.py says what the migrations have made: columns, defaults, constraints and indexes."""

from importlib import import_module

import asyncpg
import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from deploy.local.test_servers import Trio
from libs.common.contracts.services import SERVICES

HOMES = {"ledger": "libs.common.ledger.tables", "identity": "services.gateway.identity.tables"} | {
    service.schema: f"services.{service.name}.tables" for service in SERVICES if service.is_worker
}
"""Where the tables of each schema are declared."""
CATALOG = {
    "columns": """
      SELECT format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attnotnull THEN ' NOT NULL' END, ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid))
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
      WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": """
      SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
      WHERE connamespace = $1::regnamespace AND contype <> 'n'""",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = $1",
    "storage": """
      SELECT format('%s %s', relname, reloptions) FROM pg_class
      WHERE relnamespace = $1::regnamespace AND relkind = 'r' AND reloptions IS NOT NULL""",
}
"""Each as one text a row."""


@pytest.mark.parametrize("schema", HOMES)
async def test_the_database_is_what_the_code_says(servers: Trio, database_url: str, schema: str) -> None:
    migrated = await _described(database_url, schema)
    declared = await _described(await _declared(servers, schema), schema)
    for what in CATALOG:
        assert sorted(migrated[what]) == sorted(declared[what]), what


async def _declared(servers: Trio, schema: str) -> str:
    """The address of a database with the tables of the schema as its module declares them."""
    metadata: MetaData = import_module(HOMES[schema]).metadata
    name = f"declared_{schema}"
    connection = await asyncpg.connect(servers.postgres.url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = servers.postgres.url.rpartition("/")[0] + f"/{name}"
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as transaction:
        await transaction.exec_driver_sql(f"CREATE SCHEMA {schema}")
        await transaction.run_sync(metadata.create_all)
    await engine.dispose()
    return url


async def _described(url: str, schema: str) -> dict[str, set[str]]:
    connection = await asyncpg.connect(url)
    try:
        return {what: {row[0] for row in await connection.fetch(sql, schema)} for what, sql in CATALOG.items()}
    finally:
        await connection.close()
