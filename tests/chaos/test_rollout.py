"""A rollout under load, from this version to itself. `make chaos-rollout` takes an older one, there and back."""

import pytest

from tests.chaos.fleet import ROOT
from tests.chaos.rollout import Rollout, run


@pytest.mark.long
async def test_a_rollout_loses_nothing_counts_nothing_twice_and_fails_no_request() -> None:
    result = await run(ROOT, Rollout.to_itself, jobs=60)
    assert result.good, result
