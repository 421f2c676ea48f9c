"""python -m services.gateway.keys TENANT: make an API key and print it, once.

This is how the first key of an environment is made; the tenant is entered if it is new.
"""

import argparse
import asyncio

from libs.common import config, db
from services.gateway.auth import Role, new_key, secret_hash
from services.gateway.config import Settings

_TENANT = "INSERT INTO identity.tenants (id) VALUES ($1) ON CONFLICT DO NOTHING"
_KEY = "INSERT INTO identity.keys (id, tenant, name, role, secret_sha256) VALUES ($1, $2, $3, $4, $5)"


async def issue(database: db.Database, env: str, tenant: str, name: str, role: Role) -> str:
    """A new key for `tenant`. It cannot be shown again."""
    text, parts = new_key(env)
    await database.fetch(_TENANT, tenant)
    await database.fetch(_KEY, parts.id, tenant, name, role.value, secret_hash(parts.secret))
    return text


async def _main(tenant: str, name: str, role: Role) -> None:
    settings = config.load(Settings)
    async with db.connect(settings, "keys", patience_s=10) as database:
        print(await issue(database, settings.gateway_env, tenant, name, role))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make an API key and print it, once.")
    parser.add_argument("tenant")
    parser.add_argument("--name", default="first")
    parser.add_argument("--role", type=Role, choices=list(Role), default=Role.ADMIN)
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.tenant, arguments.name, arguments.role))
