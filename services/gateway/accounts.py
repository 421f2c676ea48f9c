"""Accounts: people who sign in with e-mail and password at POST /v1/auth/token.

python -m services.gateway.accounts TENANT EMAIL makes one, or gives it a new password, read from standard input.
"""

import argparse
import asyncio
import getpass
import sys
from typing import Annotated

import argon2
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common import config, db
from libs.common.db import Database
from services.gateway.bodies import Text, answer, read_json
from services.gateway.config import Settings
from services.gateway.documents import Token
from services.gateway.door import charge_account
from services.gateway.keys import enter_tenant
from services.gateway.problems import NotFound, Unauthenticated
from services.gateway.scopes import Role
from services.gateway.tokens import LIFE_S, Identity

PASSWORD_AT_LEAST = 12
PASSWORD_AT_MOST = 256

_HASHER = argon2.PasswordHasher()  # argon2id with the parameters of RFC 9106, 4 (second choice): 64 MiB, 3 passes
_NOBODY = _HASHER.hash("nobody's password")
_AT_ONCE = asyncio.Semaphore(2)
"""Each takes 64 MiB and a core for tens of milliseconds."""

_FIND = "SELECT id, tenant, role, password FROM identity.accounts WHERE email = $1 AND disabled_at IS NULL"
_ENTER = """
INSERT INTO identity.accounts (id, email, tenant, role, password) VALUES (gen_random_uuid(), $1, $2, $3, $4)
ON CONFLICT (email) DO UPDATE SET tenant = excluded.tenant, role = excluded.role, password = excluded.password
"""


class SignIn(BaseModel):
    """The body of POST /v1/auth/token."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"email": "ann@example.com", "password": "…"}]}
    )

    email: Annotated[str, Field(min_length=3, max_length=320, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$")]
    password: Annotated[Text, Field(min_length=1, max_length=PASSWORD_AT_MOST)]


async def sign_in(request: Request) -> Response:
    """E-mail and password to a token that lives for 15 minutes."""
    state = request.app.state
    if not state.tokens.issues:
        raise NotFound("There are no tokens here: TOKEN_SECRET is not set.")
    asked = await read_json(request, SignIn)
    email = asked.email.lower()
    await charge_account(request, email)
    rows = await state.database.fetch(_FIND, email)
    right = await _verify(rows[0]["password"] if rows else _NOBODY, asked.password)
    if not rows or not right:  # an unknown account takes as long as a wrong password
        raise Unauthenticated("The e-mail or the password is wrong.")
    account_id, tenant, role, _ = rows[0]
    token = state.tokens.issue(Identity(f"account:{account_id.hex}", tenant, Role(role)))
    document: Token = {"access_token": token, "token_type": "Bearer", "expires_in": LIFE_S}
    return answer(document, headers={"Cache-Control": "no-store"})


async def enter(database: Database, tenant: str, email: str, role: Role, password: str) -> None:
    """Make an account, or change it. Raises Unavailable."""
    hashed = await asyncio.to_thread(_HASHER.hash, password)
    await enter_tenant(database, tenant)
    await database.fetch(_ENTER, email.lower(), tenant, role.value, hashed)


async def _verify(hashed: str, password: str) -> bool:
    def matches() -> bool:
        try:
            return _HASHER.verify(hashed, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async with _AT_ONCE:
        return await asyncio.to_thread(matches)


async def _main(tenant: str, email: str, role: Role, password: str) -> None:
    settings = config.load(Settings)
    async with db.connect(settings, "accounts", role=db.Role.GATEWAY, patience_s=10) as database:
        await enter(database, tenant, email, role, password)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make an account; the password is read from standard input.")
    parser.add_argument("tenant")
    parser.add_argument("email")
    parser.add_argument("--role", type=Role, choices=list(Role), default=Role.MEMBER)
    arguments = parser.parse_args()
    secret = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not PASSWORD_AT_LEAST <= len(secret) <= PASSWORD_AT_MOST:
        sys.exit(f"A password has {PASSWORD_AT_LEAST} to {PASSWORD_AT_MOST} characters.")
    asyncio.run(_main(arguments.tenant, arguments.email, arguments.role, secret))
