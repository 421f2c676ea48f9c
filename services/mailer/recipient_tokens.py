"""Tokens that name a recipient of a letter. They cannot be forged without the secret.

The token of a return path (VERP: https://cr.yp.to/proto/verp.txt) is signed. It is short, because a local part has
at most 64 characters, and in base32, because mail servers may change its case.

The token of an unsubscribe link is encrypted (AES-SIV, RFC 5297). It contains the tenant and the address, so the
link works for as long as the secret is the same, whether or not the letter is still kept. Links used to have the
tokens of return paths; those work while their letter is kept.
"""

import base64
import hashlib
import hmac
from binascii import Error as NotBase64
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from services.mailer.refusals import TokenInvalid

NUMBER_BYTES, MAC_BYTES, ID_BYTES = 4, 10, 16
RETURN_PREFIX = "bounce-"
SUBSCRIBER_PREFIX = "1"
"""The first character of the token of an unsubscribe link. It does not occur in base32."""
_BETWEEN = "\x00"


class RecipientRef(NamedTuple):
    """A recipient, by the id of the letter and the number within it."""

    letter_id: UUID
    number: int


class Subscriber(NamedTuple):
    """Whom an unsubscribe link is about, and the letter that it was in."""

    letter_id: UUID
    tenant: str
    address: str


class RecipientTokens:
    """Creates tokens with a secret, and verifies them."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._cipher = AESSIV(hmac.digest(self._secret, b"unsubscribe links", hashlib.sha512))

    def make(self, letter_id: UUID, number: int) -> str:
        """Return the token of a return path: 48 lower-case letters and digits."""
        payload = letter_id.bytes + number.to_bytes(NUMBER_BYTES, "big")
        return base64.b32encode(payload + self._mac(payload)).decode().lower()

    def read(self, token: str) -> RecipientRef:
        """Verify the token of a return path, and return the recipient that it names. Raises TokenInvalid."""
        try:
            content = base64.b32decode(token.upper())
        except (NotBase64, ValueError) as error:
            raise TokenInvalid from error
        payload, mac = content[:-MAC_BYTES], content[-MAC_BYTES:]
        if len(payload) != ID_BYTES + NUMBER_BYTES or not hmac.compare_digest(mac, self._mac(payload)):
            raise TokenInvalid
        return RecipientRef(UUID(bytes=payload[:ID_BYTES]), int.from_bytes(payload[ID_BYTES:], "big"))

    def make_link(self, subscriber: Subscriber) -> str:
        """Return the token of an unsubscribe link, in base64url. The same subscriber has the same token."""
        payload = subscriber.letter_id.bytes + _BETWEEN.join(subscriber[1:]).encode()
        encoded = base64.urlsafe_b64encode(self._cipher.encrypt(payload, None))
        return SUBSCRIBER_PREFIX + encoded.decode().rstrip("=")

    def read_link(self, token: str) -> Subscriber | RecipientRef:
        """Verify the token of an unsubscribe link: a RecipientRef if it is an old one. Raises TokenInvalid."""
        if not token.startswith(SUBSCRIBER_PREFIX):
            return self.read(token)
        encoded = token.removeprefix(SUBSCRIBER_PREFIX)
        try:
            content = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            payload = self._cipher.decrypt(content, None)
        except (NotBase64, ValueError, InvalidTag) as error:
            raise TokenInvalid from error
        tenant, _, address = payload[ID_BYTES:].decode().partition(_BETWEEN)
        return Subscriber(UUID(bytes=payload[:ID_BYTES]), tenant, address)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, hashlib.sha256)[:MAC_BYTES]
