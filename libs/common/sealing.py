"""Secrets of tenants, encrypted at rest: AES-GCM, each bound to the tenant and the thing that it is of."""

import hashlib
import hmac
import os
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class SealBroken(Exception):
    """What is sealed is of another tenant or thing, or was sealed with another secret."""


class Sealer:
    """Encrypts with keys that are derived from `secret` for one `purpose`, and decrypts."""

    def __init__(self, secret: str, purpose: bytes) -> None:
        self._cipher = AESGCM(hmac.digest(secret.encode(), purpose, hashlib.sha256))
        self._fingerprints = hmac.digest(secret.encode(), b"fingerprints of " + purpose, hashlib.sha256)

    def seal(self, content: bytes, tenant: str, of: UUID) -> bytes:
        """`content`, encrypted for the thing `of` this tenant. It is another each time."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, _owner(tenant, of))

    def open(self, sealed: bytes, tenant: str, of: UUID) -> bytes:
        """What was sealed for this thing. Raises SealBroken."""
        nonce, hidden = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, hidden, _owner(tenant, of))
        except InvalidTag as error:
            raise SealBroken from error

    def fingerprint(self, content: bytes) -> bytes:
        """32 bytes that are the same for the same content. Without the secret, no guess can be tried on them."""
        return hmac.digest(self._fingerprints, content, hashlib.sha256)


def _owner(tenant: str, of: UUID) -> bytes:
    return of.bytes + tenant.encode()
