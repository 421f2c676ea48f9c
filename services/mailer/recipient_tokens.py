"""Signed tokens that name a recipient of a letter. They cannot be forged without the secret.

A token is part of the return path (VERP: https://cr.yp.to/proto/verp.txt), and the end of the unsubscribe link.
Tokens are base32, because mail servers may change the case of a local part.
"""

import base64
import hashlib
import hmac
from binascii import Error as NotBase32
from typing import NamedTuple
from uuid import UUID

from services.mailer.refusals import TokenInvalid

NUMBER_BYTES, MAC_BYTES = 4, 10
RETURN_PREFIX = "bounce-"


class RecipientRef(NamedTuple):
    """A recipient, by the id of the letter and the number within it."""

    letter_id: UUID
    number: int


class RecipientTokens:
    """Creates tokens with a secret, and verifies them."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def make(self, letter_id: UUID, number: int) -> str:
        """Return a token of 48 lower-case letters and digits."""
        payload = letter_id.bytes + number.to_bytes(NUMBER_BYTES, "big")
        return base64.b32encode(payload + self._mac(payload)).decode().lower()

    def read(self, token: str) -> RecipientRef:
        """Verify a token, and return the recipient that it names. Raises TokenInvalid."""
        try:
            content = base64.b32decode(token.upper())
        except (NotBase32, ValueError) as error:
            raise TokenInvalid from error
        payload, mac = content[:-MAC_BYTES], content[-MAC_BYTES:]
        if len(payload) != 16 + NUMBER_BYTES or not hmac.compare_digest(mac, self._mac(payload)):
            raise TokenInvalid
        return RecipientRef(UUID(bytes=payload[:16]), int.from_bytes(payload[16:], "big"))

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, hashlib.sha256)[:MAC_BYTES]
