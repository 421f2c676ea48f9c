"""Python's garbage collector, told that a server is no script.

It walks through everything that lives each time a few hundred objects more have been made than freed: in a process
that keeps ten thousands of them, tens of milliseconds in which nothing else happens.
"""

import gc

COLLECT_AFTER = 20_000
"""Objects made and not freed since the last collection; Python's own figure is 700."""


def tune() -> None:
    """What lives now stays: look at it no more, and at the rest less often. For the end of a process's start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
