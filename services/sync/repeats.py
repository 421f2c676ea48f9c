"""Keys that come more than once on a page, found in little memory: of a key that comes again the last line counts.

A page may have as many records as a run. A bit for each hash says which keys may come again; only of those the
last line is remembered.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

_BITS = 2**26
"""8 MB: of a million keys one in a hundred is suspected in vain."""


def last_lines(keys: Callable[[], Iterable[str | None]]) -> dict[str, int]:
    """The number of the last line of each key that comes more than once. `keys` is read three times at most."""
    suspected = set(_suspected(keys()))
    if not suspected:
        return {}
    last: dict[str, int] = {}
    again: set[str] = set()
    for number, key in enumerate(keys()):
        if key is not None and _bit(key) in suspected:
            if key in last:
                again.add(key)
            last[key] = number
    return {key: last[key] for key in again}


def _suspected(keys: Iterable[str | None]) -> Iterator[int]:
    met = bytearray(_BITS // 8)
    for key in keys:
        if key is None:
            continue
        place = _bit(key)
        mask = 1 << (place & 7)
        if met[place >> 3] & mask:
            yield place
        met[place >> 3] |= mask


def _bit(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % _BITS
