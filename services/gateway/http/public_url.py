"""What comes before every path that callers are told, so that it leads back to them through the proxies in front.

PUBLIC_URL decides where it is set. Otherwise a trusted proxy may say how it was reached: the prefix that it takes
away (X-Forwarded-Prefix), and host and scheme (Forwarded, RFC 7239, or X-Forwarded-Host and X-Forwarded-Proto). Of
several proxies the first to be reached counts, and their prefixes follow one another. A proxy that passes on what
its client has made up lets that client mislead itself: no answer with such a URL may be stored for others.
"""

import re
from functools import lru_cache

from starlette.types import Scope

from services.gateway.http.client_address import ClientAddresses

_PREFIX = re.compile(r"(/[\w.~%-]+)*", re.ASCII)
_HOST = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_PARAMETER = re.compile(r'(host|proto)=(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)
READ_AT_MOST = 1000
"""Characters of what proxies say together. What is longer is nobody's address, and would fill the memory."""
_FIELDS = (b"forwarded", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix")


class PublicUrls:
    """Finds where callers reach this gateway. `configured`: PUBLIC_URL. `addresses` knows the proxies."""

    def __init__(self, configured: str | None, addresses: ClientAddresses) -> None:
        self._configured = configured
        self._addresses = addresses
        self._told = lru_cache(maxsize=4096)(_told)
        self._trusts = lru_cache(maxsize=4096)(addresses.trusts)

    def base(self, scope: Scope) -> str:
        """What comes before `/v1/…`: `https://api.example.com/argosy`, or `/argosy`, or nothing."""
        if self._configured is not None:
            return self._configured
        client = scope.get("client")
        if client is None or not self._trusts(client[0]):
            return ""
        told = [b",".join(value for name, value in scope["headers"] if name == field) for field in _FIELDS]
        if sum(map(len, told)) > READ_AT_MOST:
            return ""
        return self._told(*(value.decode("latin-1") for value in told))


def _told(forwarded: str, host: str, proto: str, prefix: str) -> str:
    """What the header fields in `_FIELDS` say together. What is not well-formed is left out."""
    parameters = {found[0].lower(): found[1] or found[2] for found in _PARAMETER.findall(_first(forwarded))}
    host = parameters.get("host") or _first(host)
    proto = (parameters.get("proto") or _first(proto)).lower()
    path = "".join(part.strip().rstrip("/") for part in prefix.split(","))
    path = path if _PREFIX.fullmatch(path) else ""
    if proto in ("http", "https") and _HOST.fullmatch(host):
        return f"{proto}://{host}{path}"
    return path


def _first(elements: str) -> str:
    """The first of the elements of a list, which the proxy that was reached first has written."""
    return elements.partition(",")[0].strip()
