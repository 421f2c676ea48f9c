"""What lives at the end of a start is not looked at again; what is garbage by then is freed."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from libs.common import gc_tuning


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The collector is the whole process's."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


class Node:
    """One that can be in a cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_what_lives_is_looked_at_no_more_and_what_comes_later_is() -> None:
    old = Node()
    gc_tuning.tune()
    young = Node()
    looked_at = {id(one) for one in gc.get_objects()}
    assert id(old) not in looked_at
    assert id(young) in looked_at


def test_garbage_is_freed_before_it_would_be_kept_for_ever() -> None:
    garbage = weakref.ref(Node())
    gc_tuning.tune()
    assert garbage() is None


def test_collections_are_rarer_than_pythons_own() -> None:
    gc.set_threshold(700)
    gc_tuning.tune()
    assert gc.get_threshold()[0] == gc_tuning.COLLECT_AFTER > 10 * 700


FREED = """
from pathlib import Path
from libs.common import gc_tuning
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
gc_tuning.tune()
bytearray(b"x" * 24_000_000)  # the first large block that is freed makes malloc keep the next ones
before = resident()
blocks = [b"x" * 20_000_000 for _ in range(10)]
kept = [b"x" * 500 for _ in range(1000)]
assert resident() - before > 150_000_000
del blocks
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_large_blocks_are_returned_when_they_are_freed() -> None:
    told = subprocess.run([sys.executable, "-c", FREED], check=True, capture_output=True, text=True).stdout
    assert int(told) < 20_000_000
