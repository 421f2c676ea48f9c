"""Which addresses of the network a source may have: those of the public internet, on the usual ports.

`ipaddress.is_global` is not enough: it passes multicast, and addresses that carry another one in them.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from services.sync.refusals import AddressRefused

PORTS = frozenset((80, 443, 8080, 8443))
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is given out for the public internet."""
NOT_TO_BE_REACHED = (
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, RFC 7526
    IPv6Network("3fff::/20"),  # for documentation, RFC 9637
)
CARRY_THE_ONE_THAT_IS_REACHED = (
    IPv6Network("::ffff:0:0/96"),  # mapped, RFC 4291
    IPv6Network("::/96"),  # compatible, RFC 4291
    IPv6Network("::ffff:0:0:0/96"),  # translated, RFC 2765
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
)
"""Networks whose last 32 bits are an IPv4 address."""
ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def check_url(url: str) -> SplitResult:
    """The parts of an address that may be asked, whatever its host is. Raises AddressRefused."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise AddressRefused("The address is no URL: look at its brackets and its host.") from None
    try:
        port = parts.port
    except ValueError:
        raise AddressRefused("The port of the address must be a number from 1 to 65535.") from None
    if parts.scheme not in ("http", "https"):
        raise AddressRefused("The address must begin with http:// or https://.")
    if not parts.hostname or port == 0:
        raise AddressRefused("The address names no server.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("The address must not contain a user or a password: use a header.")
    return parts


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises AddressRefused."""
    parts = check_url(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def may_connect(host: str, port: int, allowed: Sequence[Network] = ()) -> bool:
    """Whether a socket may be connected to this numeric address. `allowed`: with any port, whatever they are."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if any(address in network for network in allowed):
        return True
    return port in PORTS and is_public(address)


def is_public(address: Address) -> bool:
    """Whether the address, and each that it carries, is one of a single host on the public internet."""
    if isinstance(address, IPv4Address):
        return _is_of_the_internet(address)
    carried = list(_carried(address))
    if not all(map(is_public, carried)):
        return False
    is_only_a_wrapping = any(address in network for network in CARRY_THE_ONE_THAT_IS_REACHED)
    return is_only_a_wrapping or (address in UNICAST and _is_of_the_internet(address))


def _is_of_the_internet(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in NOT_TO_BE_REACHED)
    )


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    number = int(address)
    if any(address in network for network in CARRY_THE_ONE_THAT_IS_REACHED) or number >> 32 & 0xFFFFFFFF in ISATAP:
        yield IPv4Address(number & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
