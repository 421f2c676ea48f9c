"""The format of an API key: `argosy_<env>_<id>_<secret>_<checksum>`. Only a hash of the secret is stored.

The secret has 190 random bits, so a plain SHA-256 keeps it safe (OWASP ASVS 5.0, 6.5.2). The checksum lets a
mistyped or invented key be refused without a database query, as GitHub's tokens do.
"""

import hashlib
import hmac
import json
import secrets
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from libs.common.redaction import KEY_ID_LENGTH, KEY_PREFIX

SECRET_LENGTH = 32
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """The parts of a well-formed key."""

    env: str
    id: str
    secret: str


def new_key(env: str, secret_of: Callable[[str], str] | None = None) -> tuple[str, ParsedKey]:
    """A new key as text, which is shown once, and its parts. Its secret is random, or that of its id."""
    key_id = _random(KEY_ID_LENGTH)
    parts = ParsedKey(env, key_id, secret_of(key_id) if secret_of else _random(SECRET_LENGTH))
    return text_of(parts), parts


def text_of(parts: ParsedKey) -> str:
    """A key as text."""
    body = f"{KEY_PREFIX}{parts.env}_{parts.id}_{parts.secret}"
    return f"{body}_{_checksum(body)}"


def derived_secret(server_secret: bytes, *facts: str) -> str:
    """The secret that belongs to `facts`, which nobody can work out without `server_secret` (HMAC-SHA-256)."""
    number = int.from_bytes(hmac.digest(server_secret, json.dumps(facts).encode(), "sha256"))
    characters = []
    for _ in range(SECRET_LENGTH):
        number, place = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[place])
    return "".join(characters)


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
