"""What the commands ask of the fleet's database: its revision, logins, keys, who works, how the queues stand."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

import deploy.migrations.__main__ as migrations
from deploy.local import settings
from deploy.local.errors import CannotRun
from deploy.local.passwords import password_of
from deploy.local.state import State
from deploy.permissions import postgres_logins
from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.db import Database
from libs.common.db_opening import Servers
from libs.common.errors import Misconfigured
from libs.common.ledger.claim import LEASE_S
from libs.common.ledger.queues import overview
from services.gateway.config import KEYS_AT_MOST
from services.gateway.identity.key_format import parse_key
from services.gateway.identity.keys import Issued, issue, page
from services.gateway.identity.scopes import OPERATOR, ROLES, Role, Scopes
from services.gateway.problems import TooManyKeys

TENANT = "dev"
KEYS_AT_A_TIME = 1000
TIMEOUT_S = 10.0
_REVISION = "SELECT version_num FROM public.alembic_version"
_WORKERS = """
SELECT queue, pid FROM ledger.workers WHERE host = $1 AND heartbeat_at > now() - $2::float8 * interval '1 second'
"""


def settings_of(state: State) -> DatabaseSettings:
    """As its owner reaches the database."""
    return DatabaseSettings.model_validate({"database_url": settings.addresses_of(state)["postgres"]})


async def _fetch(state: State, statement: str, *values: object) -> list[Any]:
    connection = await Servers(settings.addresses_of(state)["postgres"], {}, timeout_s=TIMEOUT_S).open()
    try:
        return list(await connection.fetch(statement, *values, timeout=TIMEOUT_S))
    finally:
        await connection.close()


def reachable(state: State) -> bool:
    """Whether it answers. Raises CannotRun if it answers that this can never be."""
    try:
        asyncio.run(_fetch(state, "SELECT 1"))
    except Misconfigured as error:
        if "postgres" in settings.external(state):
            raise CannotRun(str(error)) from error
        raise CannotRun(f"Our PostgreSQL refuses us: {error}") from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def revision(state: State) -> str | None:
    """The last migration that the database had; None: it is empty."""
    try:
        rows = asyncio.run(_fetch(state, _REVISION))
    except asyncpg.UndefinedTableError:
        return None
    return str(rows[0][0]) if rows else None


def pending(state: State) -> str | None:
    """`0009 → 0010` if it has to be migrated. Raises CannotRun if it is of a newer version than the code."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    now, newest = revision(state), scripts.get_current_head()
    if now is not None:
        try:
            scripts.get_revision(now)
        except CommandError as error:
            raise CannotRun(
                f"The database had migration {now}, which the code that is checked out does not have: it is older "
                f"than what ran here last. Check out a newer version."
            ) from error
    return None if now == newest else f"{now or 'empty'} → {newest}"


def prepare(state: State) -> None:
    """Migrate it, and have the services' logins (in our own server) and an API key for the tenant `dev`."""
    migrations.upgrade(settings_of(state))
    asyncio.run(_have_logins(state))
    asyncio.run(_have_key(state))


async def _have_logins(state: State) -> None:
    if "postgres" in settings.external(state):
        return
    for login, statement in postgres_logins(lambda service: f"'{password_of(service, state.password)}'").items():
        if not await _fetch(state, "SELECT FROM pg_roles WHERE rolname = $1", login):
            await _fetch(state, statement)


async def _have_key(state: State) -> None:
    where = settings.external(state).get("postgres", "ours").rpartition("@")[2]
    parsed = parse_key(state.key) if state.key else None
    if parsed is None or state.key_database != where or parsed.env != _env(state):
        async with db.connect(settings_of(state), "up", role=db.Role.GATEWAY, patience_s=10) as database:
            everything = ROLES[Role.ADMIN] | OPERATOR
            issued = await _issued(state, database, "make up", Role.ADMIN, everything)
        state.key, state.key_database = issued.key, where
        state.save()


def _env(state: State) -> str:
    """The environment that the gateway wants keys to name."""
    return state.settings.get("GATEWAY_ENV", "dev")


def registered(state: State) -> set[tuple[str, int]]:
    """Queue and pid of the workers of this machine that the ledger takes for alive; none if it does not answer."""
    with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        rows = asyncio.run(_fetch(state, _WORKERS, socket.gethostname(), LEASE_S))
        return {(queue, pid) for queue, pid in rows}
    return set()


def queues(state: State) -> list[Mapping[str, Any]]:
    """How each queue stands (ledger/queues.py)."""

    async def ask() -> list[Mapping[str, Any]]:
        async with db.connect(settings_of(state), "status", role=db.Role.GATEWAY, patience_s=5) as database:
            return [*await overview(database, [*settings.WORKERS])]

    return asyncio.run(ask())


def keys(state: State) -> list[dict[str, Any]]:
    """The API keys of the tenant `dev`, without secrets."""

    async def ask() -> list[dict[str, Any]]:
        async with db.connect(settings_of(state), "keys", role=db.Role.GATEWAY, patience_s=5) as database:
            return [key async for key in _all_keys(database)]

    return asyncio.run(ask())


async def _all_keys(database: Database) -> AsyncIterator[dict[str, Any]]:
    after = ""
    while found := await page(database, TENANT, after=after, limit=KEYS_AT_A_TIME):
        for key in found:
            yield key
        after = found[-1]["id"]


def new_key(state: State, name: str, role: Role) -> Issued:
    """A new API key of the tenant `dev`. Raises CannotRun: it has as many as it may."""

    async def make() -> Issued:
        async with db.connect(settings_of(state), "keys", role=db.Role.GATEWAY, patience_s=5) as database:
            return await _issued(state, database, name, role)

    return asyncio.run(make())


async def _issued(state: State, database: Database, name: str, role: Role, scopes: Scopes | None = None) -> Issued:
    at_most = int(state.settings.get("GATEWAY_MAX_KEYS", KEYS_AT_MOST))
    try:
        return await issue(database, _env(state), TENANT, name, role, scopes=scopes, at_most=at_most)
    except TooManyKeys as refused:
        raise CannotRun(f"{refused} Revoke some of them (/v1/keys), or raise GATEWAY_MAX_KEYS.") from refused
