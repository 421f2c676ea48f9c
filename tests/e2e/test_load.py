"""make load: work of all kinds reaches the fleet, and what was needed for it is removed."""

import re
from collections.abc import Iterator

import httpx
import pytest

from deploy.local.load import KINDS
from tests.e2e.fleet import Fleet

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    started = Fleet(tmp_path_factory.mktemp("run"))
    started.command("up")
    yield started
    started.command("down")


def test_it_is_not_begun_where_sources_could_not_be_read(fleet: Fleet) -> None:
    assert "SYNC_ALLOWED_NETWORKS=127.0.0.0/8 make up" in fleet.command("load", "1", code=1)


def test_all_kinds_of_work_are_done(fleet: Fleet) -> None:
    fleet.command("up", SYNC_ALLOWED_NETWORKS="127.0.0.0/8")
    told = fleet.command("load", "5")
    for kind in KINDS:
        row = re.search(rf"^ *{kind} +([\d,]+) +([\d,]+) *(.*)$", told, re.M)
        assert row, told
        assert (row[1] != "0", row[2], row[3]) == (True, "0", ""), told
    headers = {"Authorization": f"Bearer {fleet.variables()['ARGOSY_KEY']}"}
    with httpx.Client(base_url=fleet.variables()["ARGOSY_URL"], headers=headers) as client:
        assert client.get("/v1/sources").json()["sources"] == []
        assert client.get("/v1/schedules").json()["schedules"] == []
