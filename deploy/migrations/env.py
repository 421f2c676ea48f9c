"""The environment of Alembic: it connects over asyncpg, and an advisory lock makes a second run wait."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.backoff import until_available
from libs.common.db_opening import LOST, Servers
from libs.common.errors import Unavailable, message_of

LOCK = 0x4172676F  # "Argo"
OPENED_WITHIN_S = 10.0
PATIENCE_S = 60.0
"""How long to wait for a server that is not up yet or still recovers."""


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, version_table_schema="public")
    with context.begin_transaction():
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        context.run_migrations()


async def _connect(servers: Servers) -> Any:
    try:
        return await servers.open()
    except LOST as error:
        raise Unavailable(f"PostgreSQL: {message_of(error)}") from error


async def _run() -> None:
    servers = Servers(context.config.attributes["database_url"], {}, timeout_s=OPENED_WITHIN_S)

    async def open_connection() -> Any:
        return await until_available(lambda: _connect(servers), patience_s=PATIENCE_S)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=open_connection, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
        await connection.commit()
    await engine.dispose()


asyncio.run(_run())
