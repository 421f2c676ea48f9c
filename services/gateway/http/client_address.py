"""Where a request comes from, when proxies stand in front.

X-Forwarded-For is written by everybody on the way, the caller included. So it is read from the right, over the
proxies that are known, to the first address that is not one of them. IPv6 counts by /64: whoever has one address
has all of its network.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.types import Scope

UNKNOWN = "unknown"


class ClientAddresses:
    """Tells where requests come from. `proxies`: networks of those whose X-Forwarded-For is believed."""

    def __init__(self, proxies: Iterable[str]) -> None:
        self._proxies = [ip_network(proxy) for proxy in proxies]
        self._place = lru_cache(maxsize=4096)(self._walk)

    def of(self, scope: Scope) -> str:
        """The caller's address: an IPv4 address, an IPv6 /64, or `unknown`."""
        client = scope.get("client")
        peer = client[0] if client else ""
        if not self._proxies:
            return self._place(peer, "")
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return self._place(peer, b",".join(forwarded).decode("latin-1"))

    def _walk(self, peer: str, forwarded: str) -> str:
        hops = [*(hop.strip() for hop in forwarded.split(",") if hop.strip()), peer]
        place = UNKNOWN
        for hop in reversed(hops):
            address = _parsed(hop)
            if address is None:  # nobody we trust wrote that: the last hop known is as far as can be told
                return place
            place = _counted_as(address)
            if not any(address in network for network in self._proxies):
                return place
        return place


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
