"""The format of an API key: `argosy_<env>_<id>_<secret>_<checksum>`. Only a hash of the secret is stored.

The secret has 190 random bits, so a plain SHA-256 keeps it safe (OWASP ASVS 5.0, 6.5.2). The checksum lets a
mistyped or invented key be refused without a database query, as GitHub's tokens do.
"""

import hashlib
import secrets
import string
import zlib
from dataclasses import dataclass

from libs.common.redaction import KEY_ID_LENGTH, KEY_PREFIX

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """The parts of a well-formed key."""

    env: str
    id: str
    secret: str


def new_key(env: str) -> tuple[str, ParsedKey]:
    """A new random key as text, which is shown once, and its parts."""
    parts = ParsedKey(env, _random(KEY_ID_LENGTH), _random(32))
    body = f"{KEY_PREFIX}{parts.env}_{parts.id}_{parts.secret}"
    return f"{body}_{_checksum(body)}", parts


def parse_key(text: str) -> ParsedKey | None:
    """The parts of a key, or None if the format or the checksum is wrong."""
    body, _, checksum = text.rpartition("_")
    parts = body.removeprefix(KEY_PREFIX).split("_")
    if not body.startswith(KEY_PREFIX) or len(parts) != 3 or _checksum(body) != checksum:
        return None
    return ParsedKey(*parts)


def secret_hash(secret: str) -> bytes:
    """The SHA-256 of a secret, which is what is stored."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
