"""What the parser lets pass and HTTP does not (RFC 9110, RFC 9112): it is refused whatever it is for.

A proxy in front might read such a request otherwise than we do, and take it for another one.
"""

import re
from collections import Counter

from starlette.types import Scope

from services.gateway.http.nul import nul_in_url
from services.gateway.problems import BadRequest

ONLY_ONCE = frozenset(
    (b"host", b"authorization", b"content-type", b"content-length", b"range", b"if-range", b"last-event-id")
)
"""Fields that are no lists, and that say what is done or for whom."""
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")
_CLOSING = {"Connection": "close"}


def refusal_of(scope: Scope) -> BadRequest | None:
    """Why a request is no HTTP/1 request, or one that nobody could mean; None if it is all right."""
    wrong = _wrong_head(scope)
    if wrong:
        return BadRequest(wrong, headers=_CLOSING)
    return BadRequest("The URL has a NUL character.") if nul_in_url(scope) else None


def _wrong_head(scope: Scope) -> str | None:
    version = scope.get("http_version")
    if version not in (None, "1.0", "1.1"):
        return "The request line has no version of HTTP that is spoken here."
    fields = scope["headers"]
    counted = Counter(name for name, _ in fields)
    twice = [name for name, number in counted.items() if number > 1 and name in ONLY_ONCE]
    if twice:
        return f"The header field {twice[0].decode().title()} is given more than once."
    if version == "1.1" and b"host" not in counted:
        return "The header field Host is missing."
    if any(name == b"host" and not _HOST.fullmatch(value) for name, value in fields):
        return "The header field Host has no name of a host."
    return None
