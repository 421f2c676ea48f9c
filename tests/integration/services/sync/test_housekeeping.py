"""What is too old goes, and nothing else."""

from libs.common.contracts.sync import HousekeepingPayload
from tests.syncing import Syncer

_REJECTED = """
INSERT INTO sync.rejected (tenant, source, run, reason, raw, at)
SELECT 'acme', gen_random_uuid(), gen_random_uuid(), 'no_title', '{}', now() - age * interval '1 day'
FROM unnest(array[29, 31]) AS age
"""
_RUNS = """
INSERT INTO sync.runs (tenant, id, source, began_at)
SELECT 'acme', gen_random_uuid(), gen_random_uuid(), now() - age * interval '1 day'
FROM unnest(array[29, 31]) AS age
"""


async def test_rejected_records_and_runs_go_after_30_days(syncer: Syncer) -> None:
    await syncer.database.fetch(_REJECTED)
    await syncer.database.fetch(_RUNS)
    assert await syncer.run(HousekeepingPayload(), tenant="argosy") == {"rejected": 1, "runs": 1, "changes": 0}
    assert len(await syncer.database.fetch("SELECT FROM sync.rejected")) == 1
    assert len(await syncer.database.fetch("SELECT FROM sync.runs")) == 1
