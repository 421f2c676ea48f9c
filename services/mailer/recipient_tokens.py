"""What comes back: a token names a recipient of a letter, and cannot be made up.

It is the local part of return paths (VERP: https://cr.yp.to/proto/verp.txt) and the end of unsubscribe links.
Local parts may lose their case on the way, so it is base32.
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
    """A recipient of a letter."""

    letter: UUID
    number: int


class RecipientTokens:
    """Makes and reads tokens with a secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def make(self, letter: UUID, number: int) -> str:
        """48 letters and digits in lower case."""
        named = letter.bytes + number.to_bytes(NUMBER_BYTES, "big")
        return base64.b32encode(named + self._mac(named)).decode().lower()

    def read(self, token: str) -> RecipientRef:
        """Whom a token names. Raises TokenInvalid."""
        try:
            content = base64.b32decode(token.upper())
        except (NotBase32, ValueError) as error:
            raise TokenInvalid from error
        named, mac = content[:-MAC_BYTES], content[-MAC_BYTES:]
        if len(named) != 16 + NUMBER_BYTES or not hmac.compare_digest(mac, self._mac(named)):
            raise TokenInvalid
        return RecipientRef(UUID(bytes=named[:16]), int.from_bytes(named[16:], "big"))

    def _mac(self, named: bytes) -> bytes:
        return hmac.digest(self._secret, named, hashlib.sha256)[:MAC_BYTES]
