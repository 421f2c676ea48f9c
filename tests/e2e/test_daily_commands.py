"""make up on a fleet that runs, status, scale, keys and load: what changes, what stays, and what is refused."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from deploy.local.load import KINDS
from deploy.local.test_servers import free_port
from libs.common.contracts.services import SERVICES
from tests.e2e.fleet import Fleet

pytestmark = pytest.mark.long

PROGRAMS = (*(f"services.{service.name}" for service in SERVICES), "deploy.local.mail_catcher")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    started = Fleet(tmp_path_factory.mktemp("run"))
    started.command("up")
    yield started
    started.command("down")
    assert started.processes() == []


def running(fleet: Fleet) -> dict[str, set[int]]:
    """The pids of each program, and of servers of ours."""
    servers = {
        "postgres": fleet.pids(str(fleet.folder / "postgres" / "data")),
        "nats": fleet.pids(str(fleet.folder / "nats" / "nats.conf")),
    }
    return servers | {program: fleet.pids("-m", program) for program in PROGRAMS}


def changed(before: dict[str, set[int]], after: dict[str, set[int]]) -> set[str]:
    assert all(after.values())
    return {program for program in before if before[program] != after[program]}


def test_a_setting_restarts_the_program_that_reads_it_and_stays_set(fleet: Fleet) -> None:
    before = running(fleet)
    told = fleet.command("up", OCR_CONCURRENCY="3")
    after = running(fleet)
    assert changed(before, after) == {"services.ocr"}
    assert "restarted: OCR_CONCURRENCY" in told
    (worker,) = fleet.processes("-m", "services.ocr")
    assert worker.environ()["OCR_CONCURRENCY"] == "3"
    told = fleet.command("up", OCR_CONCURENCY="2")
    assert "OCR_CONCURENCY is no setting of any service; is OCR_CONCURRENCY meant?" in told
    assert "Kept from an earlier `make up`: OCR_CONCURRENCY" in told
    assert "nothing to restart" in told
    assert running(fleet) == after


def test_a_bad_setting_is_named_and_touches_nothing(fleet: Fleet) -> None:
    before, remembered = running(fleet), (fleet.folder / "state.json").read_text()
    told = fleet.command("up", code=1, OCR_CONCURRENCY="many", LIMITS="much", MAIL_TIMEOUT_S="1", ARGOSY_PORT="x")
    assert "OCR_CONCURRENCY: Input should be a valid integer" in told
    assert "LIMITS: " in told
    assert "ARGOSY_PORT: " in told
    assert "MAIL_TIMEOUT_S" not in told
    assert "waiting for" not in told
    assert running(fleet) == before
    assert (fleet.folder / "state.json").read_text() == remembered


def test_a_running_fleet_keeps_its_database(fleet: Fleet) -> None:
    before = running(fleet)
    state = json.loads((fleet.folder / "state.json").read_text())
    other = f"postgresql://argosy:{state['password']}@127.0.0.1:{state['postgres_port']}/other"
    told = fleet.command("up", code=1, DATABASE_URL=other)
    assert "DATABASE_URL: " in told
    assert "`make down` first" in told
    assert running(fleet) == before


def test_a_program_that_keeps_ending_is_named_with_its_last_words(fleet: Fleet) -> None:
    told = fleet.command("up", code=1, MAIL_LMTP_PORT="0", MAIL_LMTP_HOST="203.0.113.1")  # nobody's address
    assert "mailer keeps ending" in told
    assert "203.0.113.1" in told
    fleet.command("status", code=1)
    told = fleet.command("up", MAIL_LMTP_PORT="", MAIL_LMTP_HOST="", OCR_CONCURRENCY="")
    assert "restarted: MAIL_LMTP_HOST, MAIL_LMTP_PORT" in told
    assert "restarted: OCR_CONCURRENCY" in told


def test_the_gateway_moves_to_another_port(fleet: Fleet) -> None:
    before, old = running(fleet), fleet.port
    fleet.port = free_port()
    assert "restarted: GATEWAY_PORT" in fleet.command("up")
    after = running(fleet)
    # Letters and exports have links to the gateway.
    assert changed(before, after) == {"services.gateway", "services.mailer", "services.exporter"}
    assert f"'http://127.0.0.1:{fleet.port}'" in (fleet.folder / "dev.env").read_text()
    assert httpx.get(f"http://127.0.0.1:{fleet.port}/readyz").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{old}/readyz")


def test_status_says_what_runs_and_down_and_up_keep_scale_and_port(fleet: Fleet) -> None:
    fleet.command("scale", "ocr", "2")
    assert "ocr        2" in fleet.command("scale")
    fleet.command("down")
    told = fleet.command("status", code=1)
    assert "The fleet is down: `make up` starts it." in told
    fleet.command("up", ARGOSY_PORT=str(fleet.port))
    told = fleet.command("status")  # its exit code says that both are registered
    assert "2 of 2" in told
    assert f"http://127.0.0.1:{fleet.port}" in told
    assert str(fleet.folder / "dev.env") in told
    assert all(str(pid) in told for program in PROGRAMS for pid in fleet.pids("-m", program))
    assert len(fleet.pids("-m", "services.ocr")) == 2


async def test_keys_are_listed_without_secrets_and_a_new_one_works(fleet: Fleet) -> None:
    key = fleet.command("keys", "for-ci", "read").split()[-1]
    listed = fleet.command("keys")
    assert "for-ci" in listed
    assert key.split("_")[2] in listed
    assert key.split("_")[3] not in listed
    async with fleet.client() as client:
        client.headers["Authorization"] = f"Bearer {key}"
        assert (await client.get("/v1/jobs")).status_code == 200
        assert (await client.post("/v1/mail", json={})).status_code == 403
    assert "There is no role captain" in fleet.command("keys", "x", "captain", code=1)


def test_work_is_done_of_all_kinds_where_sources_can_be_read(fleet: Fleet) -> None:
    assert "SYNC_ALLOWED_NETWORKS=127.0.0.0/8 make up" in fleet.command("load", "1", code=1)
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
