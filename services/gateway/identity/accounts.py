"""Accounts: people who sign in with e-mail and password. Passwords are stored as argon2id hashes."""

import asyncio

import argon2

from libs.common.db import PROMPT_S, Database
from services.gateway.identity.keys import ensure_tenant
from services.gateway.identity.scopes import Role
from services.gateway.identity.tokens import Identity

PASSWORD_AT_LEAST = 12
PASSWORD_AT_MOST = 256

_HASHER = argon2.PasswordHasher()  # argon2id with the parameters of RFC 9106, 4 (second choice): 64 MiB, 3 passes
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$lA1sEv1l+OVsDUUdtD9UQw$G90p5eNKohSwD4We8EKsFwaD0zAT/+PHcp2hapvPu0g"
"""The hash of 32 random bytes that nobody has kept. Made in advance: hashing would delay every start by 0.3 s."""
_AT_ONCE = asyncio.Semaphore(2)
"""Bounds the hashing: each run takes 64 MiB and a core for tens of milliseconds."""

_FIND = "SELECT id, tenant, role, password FROM identity.accounts WHERE email = $1 AND disabled_at IS NULL"
_ENTER = """
INSERT INTO identity.accounts (id, email, tenant, role, password) VALUES (gen_random_uuid(), $1, $2, $3, $4)
ON CONFLICT (email) DO UPDATE SET tenant = excluded.tenant, role = excluded.role, password = excluded.password
"""


async def enter(database: Database, tenant: str, email: str, role: Role, password: str) -> None:
    """Create an account, or replace its tenant, role and password. Raises Unavailable."""
    hashed = await asyncio.to_thread(_HASHER.hash, password)
    await ensure_tenant(database, tenant)
    await database.fetch(_ENTER, email.lower(), tenant, role.value, hashed)


async def verify(database: Database, email: str, password: str) -> Identity | None:
    """The identity for an e-mail address (in lower case) and password; None if they are wrong. Raises Unavailable.

    An unknown account takes as long as a wrong password.
    """
    rows = await database.fetch(_FIND, email, timeout_s=PROMPT_S)
    right = await _matches(rows[0]["password"] if rows else _NOBODY, password)
    if not rows or not right:
        return None
    account_id, tenant, role, _ = rows[0]
    return Identity(f"account:{account_id.hex}", tenant, Role(role))


async def _matches(hashed: str, password: str) -> bool:
    def matches() -> bool:
        try:
            return _HASHER.verify(hashed, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async with _AT_ONCE:
        return await asyncio.to_thread(matches)
