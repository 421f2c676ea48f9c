"""What is published is what PostgreSQL grants; and each table is published, or it is said why not."""

import asyncpg
import pytest

from libs.common.contracts.datasets import DATASETS, UNPUBLISHED, Dataset, Kind
from libs.common.contracts.services import EXPORTER, QUEUES_UNLISTED
from libs.common.db import Database
from services.gateway.identity.scopes import ROLES, Role

TABLES = """
SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND NOT relispartition
  AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
"""
GRANTED = """
SELECT table_schema || '.' || table_name AS "table", column_name, privilege_type
FROM information_schema.column_privileges WHERE grantee = $1 AND table_schema <> $2
"""
TYPES = {
    Kind.TEXT: {"text"},
    Kind.ID: {"uuid"},
    Kind.INTEGER: {"smallint", "integer", "bigint"},
    Kind.NUMBER: {"numeric", "double precision"},
    Kind.TIME: {"timestamp with time zone"},
    Kind.DATE: {"date"},
    Kind.JSON: {"json", "jsonb"},
}
ONE = pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))


async def test_each_table_is_published_or_says_why_not(database: Database) -> None:
    tables = {row["name"] for row in await database.fetch(TABLES)}
    published = {dataset.table for dataset in DATASETS.values()}
    assert published | {*UNPUBLISHED} == tables
    assert not published & {*UNPUBLISHED}
    assert all(UNPUBLISHED.values())


async def test_exactly_the_columns_of_the_contract_are_granted_for_reading(database: Database) -> None:
    granted: dict[str, set[str]] = {}
    for table, column, privilege in await database.fetch(GRANTED, EXPORTER.role.of_a_tenant, EXPORTER.schema):
        assert privilege == "SELECT"
        granted.setdefault(table, set()).add(column)
    assert granted == {dataset.table: set(dataset.sources) for dataset in DATASETS.values()}


@ONE
async def test_columns_are_of_the_kind_that_is_said(database: Database, dataset: Dataset) -> None:
    sql = "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = $1::text::regclass"
    types = dict(await database.fetch(sql, dataset.table))
    for column in dataset.columns:
        assert types[column.source] in TYPES[column.kind], column.name
    assert len({column.name for column in dataset.columns}) == len(dataset.columns)
    assert len(dataset.filters) == len([name for column in dataset.columns for name in column.filters])


@ONE
async def test_a_column_that_is_not_granted_is_refused_by_the_server(
    export_database: Database, database: Database, dataset: Dataset
) -> None:
    sql = (
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped"
    )
    columns = {row[0] for row in await database.fetch(sql, dataset.table)}
    assert "tenant" in columns - dataset.sources
    for column in columns - dataset.sources:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await export_database.fetch(f"SELECT {column} FROM {dataset.table}", tenant="acme")  # noqa: S608
    for statement in (f"DELETE FROM {dataset.table}", f"UPDATE {dataset.table} SET tenant = 'x'"):  # noqa: S608
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await export_database.fetch(statement, tenant="acme")


@ONE
async def test_the_service_itself_reads_nothing_of_others(export_database: Database, dataset: Dataset) -> None:
    if dataset.table == "ledger.jobs":  # of its own queue, as each worker
        return
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await export_database.fetch(f"SELECT {dataset.columns[0].source} FROM {dataset.table}")  # noqa: S608


def test_scopes_are_those_of_readers() -> None:
    assert {dataset.scope for dataset in DATASETS.values()} <= {*ROLES[Role.READ]}


def test_jobs_without_a_queue_are_those_of_lists() -> None:
    said = dict(DATASETS["jobs"].rows_unless)["queue"]
    assert said == " AND ".join(f"queue <> '{queue}'" for queue in QUEUES_UNLISTED)
