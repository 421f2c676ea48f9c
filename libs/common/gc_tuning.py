"""Tunes Python's memory management for a long-running server.

By default a garbage collection starts whenever a few hundred more objects have been allocated than freed. In a
process that keeps tens of thousands of objects, such a collection blocks everything else for tens of milliseconds.
And glibc's malloc keeps ever larger blocks for itself once some have been freed: up to 32 MB each.
"""

import ctypes
import gc
from contextlib import suppress

COLLECT_AFTER = 20_000
"""Objects allocated and not freed that start a collection; Python's default is 700."""
RETURN_FROM_BYTES = 1024 * 1024
"""A block of memory that is so large is returned to the system when it is freed."""
_M_MMAP_THRESHOLD = -3
"""https://man7.org/linux/man-pages/man3/mallopt.3.html: once set, it no longer grows."""


def tune() -> None:
    """Exempt all current objects from collection, and collect less often. Call it at the end of the start-up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    with suppress(OSError, AttributeError):  # another C library, which may return memory or not
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, RETURN_FROM_BYTES)
