"""Events counted while everything is killed, short: each once. `make chaos-events` does it with many events."""

import pytest

from tests.chaos.events import KILLED, accounts_table, run, strikes_table

EVENTS = 4_000


@pytest.mark.long
async def test_whatever_is_killed_each_event_counts_once() -> None:
    result = await run(1, EVENTS)
    print(strikes_table([result]), accounts_table([result]), sep="\n")
    assert result.account.good, result.account
    assert [strike.fault for strike in result.strikes] == [*KILLED]
    assert result.account.accepted + result.account.unanswered > result.account.sent, "nothing was stored again"
