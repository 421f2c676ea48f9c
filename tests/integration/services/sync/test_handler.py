"""What the queue's jobs are, and who makes them."""

from tests.syncing import Syncer


async def test_a_job_of_the_fleets_schedule_has_no_payload(syncer: Syncer) -> None:
    rows = await syncer.gateway.fetch(
        "SELECT tenant, kind, payload::text FROM ledger.schedules WHERE queue = 'sync'"
    )
    assert [tuple(row) for row in rows] == [("argosy", "housekeeping", "{}")]
