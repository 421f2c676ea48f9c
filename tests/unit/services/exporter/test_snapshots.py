"""The oldest snapshot has the age that is told."""

from services.exporter.snapshots import Snapshots


def test_the_oldest_counts() -> None:
    snapshots = Snapshots()
    assert snapshots.oldest_s() == 0
    with snapshots.held():
        first = snapshots.oldest_s()
        with snapshots.held():
            assert snapshots.oldest_s() >= first > 0
    assert snapshots.oldest_s() == 0
