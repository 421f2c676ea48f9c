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
REMEMBERED_AT_MOST = 500
"""Characters of X-Forwarded-For for which the client's address is remembered. Callers may send 64 KB."""


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
        hops = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        forwarded = b",".join(hops).decode("latin-1")
        resolve = self._resolve if len(forwarded) <= REMEMBERED_AT_MOST else self._client_of
        return resolve(peer, forwarded)

    def trusts(self, peer: str) -> bool:
        """Whether `peer`, the address at the other end of a connection, is a proxy of ours."""
        address = _parsed(peer)
        return address is not None and self._is_ours(address)

    def _client_of(self, peer: str, forwarded: str) -> str:
        hops = [*(hop.strip() for hop in forwarded.split(",") if hop.strip()), peer]
        client = UNKNOWN
        for hop in reversed(hops):
            address = _parsed(hop)
            if address is None:  # no trusted proxy wrote that, so the last known hop is the client
                return client
            client = _counted_as(address)
            if not self._is_ours(address):
                return client
        return client

    def _is_ours(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._proxies)


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
