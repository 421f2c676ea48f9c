"""Cursors: where a list goes on, signed together with what was asked for, so that they fit no other list."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

from pydantic_core import from_json, to_json

from services.sync.refusals import CursorInvalid

_SIGNATURE_BYTES = 16


class Cursors:
    """Makes cursors and reads them, with a key that is derived from `secret`."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"cursors", hashlib.sha256)

    def issue(self, question: bytes, position: Sequence[str]) -> str:
        """The cursor that goes on behind `position` in the answer to `question`."""
        told = to_json(position)
        return urlsafe_b64encode(self._signature(question, told) + told).decode().rstrip("=")

    def read(self, question: bytes, cursor: str) -> list[str]:
        """The position in `cursor`. Raises CursorInvalid, also if it is of another question."""
        try:
            message = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except ValueError as error:
            raise CursorInvalid from error
        signature, told = message[:_SIGNATURE_BYTES], message[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(question, told)):
            raise CursorInvalid
        position: list[str] = from_json(told)
        return position

    def _signature(self, question: bytes, told: bytes) -> bytes:
        message = b"%d:%s%s" % (len(question), question, told)
        return hmac.digest(self._key, message, hashlib.sha256)[:_SIGNATURE_BYTES]
