"""Command: python -m services.gateway.keys TENANT creates an API key and prints it, once.

This creates the first key of an environment, and the tenant if it is new. With --operator the key may also manage
the queues and tenants of the whole fleet. After that, admins use /v1/keys. GATEWAY_MAX_KEYS holds here too.
"""

import argparse
import asyncio
import sys

from libs.common import config, db
from services.gateway.config import Settings
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import OPERATOR, ROLES, Role
from services.gateway.problems import TooManyKeys


async def _main(tenant: str, name: str, role: Role, operator: bool) -> None:
    settings = config.load(Settings)
    scopes = ROLES[role] | OPERATOR if operator else None
    async with db.connect(settings, "keys", role=db.Role.GATEWAY, patience_s=10) as database:
        try:
            issued = await issue(
                database,
                settings.gateway_env,
                tenant,
                name,
                role,
                scopes=scopes,
                at_most=settings.gateway_max_keys,
            )
        except TooManyKeys as refused:
            sys.exit(f"{refused} Revoke some of them (/v1/keys), or give a higher GATEWAY_MAX_KEYS.")
        print(issued.key)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Create an API key and print it, once.")
    parser.add_argument("tenant")
    parser.add_argument("--name", default="first")
    parser.add_argument("--role", type=Role, choices=list(Role), default=Role.ADMIN)
    parser.add_argument("--operator", action="store_true", help="may also manage queues and tenants of the fleet")
    arguments = parser.parse_args()
    with config.exit_if_refused():
        asyncio.run(_main(arguments.tenant, arguments.name, arguments.role, arguments.operator))
