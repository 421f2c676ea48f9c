"""The headers of sources, encrypted at rest (libs/common/sealing.py), for their source alone."""

from uuid import UUID

from pydantic_core import from_json, to_json

from libs.common.sealing import SealBroken, Sealer
from services.sync.refusals import HeadersLost


class HeaderSealer:
    """Encrypts headers with a key that is derived from `secret`, and decrypts them."""

    def __init__(self, secret: str) -> None:
        self._sealer = Sealer(secret, b"headers")

    def seal(self, headers: dict[str, str], tenant: str, source: UUID) -> bytes | None:
        """`headers` for the table; None if there are none."""
        return self._sealer.seal(to_json(headers), tenant, source) if headers else None

    def open(self, sealed: bytes | None, tenant: str, source: UUID) -> dict[str, str]:
        """What was sealed for this source. Raises HeadersLost if it was for another, or with another secret."""
        if sealed is None:
            return {}
        try:
            headers: dict[str, str] = from_json(self._sealer.open(sealed, tenant, source))
        except SealBroken as error:
            raise HeadersLost from error
        return headers
