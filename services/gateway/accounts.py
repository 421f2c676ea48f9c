"""Command: python -m services.gateway.accounts TENANT EMAIL creates an account, or sets its password.

The password is read from standard input.
"""

import argparse
import asyncio
import getpass
import sys

from libs.common import config, db
from services.gateway.config import Settings
from services.gateway.identity.accounts import PASSWORD_AT_LEAST, PASSWORD_AT_MOST, enter
from services.gateway.identity.scopes import Role


async def _main(tenant: str, email: str, role: Role, password: str) -> None:
    settings = config.load(Settings)
    async with db.connect(settings, "accounts", role=db.Role.GATEWAY, patience_s=10) as database:
        await enter(database, tenant, email, role, password)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Create an account; the password is read from standard input.")
    parser.add_argument("tenant")
    parser.add_argument("email")
    parser.add_argument("--role", type=Role, choices=list(Role), default=Role.MEMBER)
    arguments = parser.parse_args()
    secret = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not PASSWORD_AT_LEAST <= len(secret) <= PASSWORD_AT_MOST:
        sys.exit(f"A password must have {PASSWORD_AT_LEAST} to {PASSWORD_AT_MOST} characters.")
    with config.exit_if_refused():
        asyncio.run(_main(arguments.tenant, arguments.email, arguments.role, secret))
