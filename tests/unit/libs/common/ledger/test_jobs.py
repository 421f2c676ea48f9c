"""Ids of jobs, and which jobs a filter means."""

from libs.common.ledger.jobs import new_id


def test_ids_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
