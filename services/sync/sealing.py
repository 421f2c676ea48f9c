"""The headers of sources, encrypted at rest: AES-GCM, bound to the tenant and the source that they are of."""

import hashlib
import hmac
import os
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic_core import from_json, to_json

from services.sync.refusals import HeadersLost

_NONCE_BYTES = 12


class Sealer:
    """Encrypts headers with a key that is derived from `secret`, and decrypts them."""

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(hmac.digest(secret.encode(), b"headers", hashlib.sha256))

    def seal(self, headers: dict[str, str], tenant: str, source: UUID) -> bytes | None:
        """`headers` for the table; None if there are none."""
        if not headers:
            return None
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, to_json(headers), _owner(tenant, source))

    def open(self, sealed: bytes | None, tenant: str, source: UUID) -> dict[str, str]:
        """What was sealed for this source. Raises HeadersLost if it was for another, or with another secret."""
        if sealed is None:
            return {}
        nonce, hidden = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            headers: dict[str, str] = from_json(self._cipher.decrypt(nonce, hidden, _owner(tenant, source)))
        except InvalidTag as error:
            raise HeadersLost from error
        return headers


def _owner(tenant: str, source: UUID) -> bytes:
    return source.bytes + tenant.encode()
