"""The format of an API key: `argosy_<env>_<id>_<secret>_<checksum>`. Only a hash of the secret is stored.

The secret has 190 random bits, so a plain SHA-256 keeps it safe (OWASP ASVS 5.0, 6.5.2). The checksum lets a
mistyped or invented key be refused without a database query, as GitHub's tokens do.
"""

import hashlib
import secrets
import string
import zlib
from dataclasses import dataclass

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """The parts of a well-formed key."""

    env: str
    id: str
    secret: str


def new_key(env: str) -> tuple[str, ParsedKey]:
    """A new random key as text, which is shown once, and its parts."""
    parts = ParsedKey(env, _random(12), _random(32))
    body = f"argosy_{parts.env}_{parts.id}_{parts.secret}"
    return f"{body}_{_checksum(body)}", parts


def parse_key(text: str) -> ParsedKey | None:
    """The parts of a key, or None if the format or the checksum is wrong."""
    body, _, checksum = text.rpartition("_")
    parts = body.split("_")
    if len(parts) != 4 or parts[0] != "argosy" or _checksum(body) != checksum:
        return None
    return ParsedKey(*parts[1:])


def secret_hash(secret: str) -> bytes:
    """The SHA-256 of a secret, which is what is stored."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
