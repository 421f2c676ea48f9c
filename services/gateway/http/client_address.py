"""The client's address of a request behind proxies.

Every hop writes to X-Forwarded-For, including the caller. So it is read from the right, past the trusted proxies,
to the first address that is not one of them. IPv6 counts by /64, because a client with one address has the whole
network.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.types import Scope

UNKNOWN = "unknown"


class ClientAddresses:
    """Finds the client's address of requests. `proxies`: networks whose X-Forwarded-For is trusted."""

    def __init__(self, proxies: Iterable[str]) -> None:
        self._proxies = [ip_network(proxy) for proxy in proxies]
        self._resolve = lru_cache(maxsize=4096)(self._client_of)

    def of(self, scope: Scope) -> str:
        """The caller's address: an IPv4 address, an IPv6 /64, or `unknown`."""
        client = scope.get("client")
        peer = client[0] if client else ""
        if not self._proxies:
            return self._resolve(peer, "")
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return self._resolve(peer, b",".join(forwarded).decode("latin-1"))

    def _client_of(self, peer: str, forwarded: str) -> str:
        hops = [*(hop.strip() for hop in forwarded.split(",") if hop.strip()), peer]
        client = UNKNOWN
        for hop in reversed(hops):
            address = _parsed(hop)
            if address is None:  # no trusted proxy wrote that, so the last known hop is the client
                return client
            client = _counted_as(address)
            if not any(address in network for network in self._proxies):
                return client
        return client


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # an IPv4 address with a port
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _counted_as(address: IPv4Address | IPv6Address) -> str:
    return str(address) if isinstance(address, IPv4Address) else str(ip_network((address, 64), strict=False))
