"""A mailer killed at every step of the dialogue, once each (`make chaos-mail` does it with many seeds)."""

from pathlib import Path

import pytest

from deploy.local.test_servers import Trio
from tests.chaos import mail


@pytest.mark.long
async def test_nobody_is_lost_and_nobody_gets_it_twice_but_in_doubt(
    servers: Trio, database_url: str, tmp_path: Path
) -> None:
    runs = await mail.matrix(servers, database_url, tmp_path, range(1))
    print(mail.table(runs))
    assert {f"{run.step}: {fault}" for run in runs for fault in run.faults()} == set()
    assert all(run.unknown() <= 3 for run in runs), "one for each connection"
