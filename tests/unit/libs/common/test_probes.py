"""Health as told from beside the event loop."""

import threading
import time
import traceback
import urllib.error
import urllib.request

import pytest
from structlog.testing import capture_logs

from libs.common import probes
from libs.common.config import ProbeSettings
from libs.common.probes import Probes


def test_a_loop_that_no_longer_turns_is_not_alive() -> None:
    health = Probes(lambda: True)
    assert health.answer("/livez")[0] == 200
    health._ticked_at = time.monotonic() - probes.WEDGED_AFTER_S - 1
    assert health.answer("/livez")[0] == 503
    assert health.answer("/readyz")[0] == 200


@pytest.mark.parametrize(("path", "status"), [("/livez", 200), ("/readyz", 503), ("/metrics", 200), ("/x", 404)])
async def test_answers_over_http(path: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ProbeSettings(probes_port=0)
    async with probes.serving(settings, lambda: False) as health:
        assert health.answer(path)[0] == status


async def test_the_port_really_answers() -> None:
    from deploy.local.test_servers import free_port

    port = free_port()
    async with probes.serving(ProbeSettings(probes_port=port), lambda: False):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"argosy_jobs_accepted" in answer.read()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz")
        assert refused.value.code == 503
        refused.value.close()


def test_a_loop_that_stays_wedged_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "WEDGED_AFTER_S", 3)
    gave_up: list[bool] = []
    Probes(lambda: True).watch(threading.Event(), lambda: gave_up.append(True), every_s=0.001)
    assert gave_up == [True]


def test_a_wedged_loop_is_reported_with_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "WEDGED_AFTER_S", 3)
    watched = Probes(lambda: True)
    watching = threading.Thread(
        target=watched.watch, args=(threading.Event(), lambda: None), kwargs={"every_s": 0.001}
    )
    with capture_logs() as lines:
        watching.start()
        watching.join()  # so this is where the thread of the loop is
    (line,) = [line for line in lines if line["event"] == "loop.wedged"]
    places = [frame.name for frame in traceback.extract_tb(line["exc_info"].__traceback__)]
    assert "test_a_wedged_loop_is_reported_with_where_it_is" in places
    assert places[-1] != places[0]
