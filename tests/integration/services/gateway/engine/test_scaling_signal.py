"""The scaling signal: what an autoscaler is told, and that it is told nothing rather than something old."""

import json
import urllib.error
import urllib.request

import pytest
from prometheus_client import REGISTRY

from deploy.local.test_servers import free_port
from libs.common import metrics, probes
from libs.common.config import ProbeSettings
from libs.common.errors import Unavailable
from services.gateway.engine import scaling_signal
from services.gateway.engine.scaling_signal import ScalingSignal
from tests.integration.services.gateway.gateway import Gateway, submitted
from tests.polling import until


def metric(queue: str) -> float | None:
    return REGISTRY.get_sample_value("argosy_slots_wanted", {"queue": queue})


async def test_the_slots_wanted_are_told_on_the_probes_port(gateway: Gateway) -> None:
    client = await gateway.client()
    for _ in range(3):
        await submitted(client)
    signal = ScalingSignal(("ocr", "mailer"))
    await signal.go_round(gateway.database)
    port = free_port()
    async with probes.serving(ProbeSettings(probes_port=port), lambda: True, {"/slots-wanted": signal.answer}):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/slots-wanted") as answer:
            assert answer.headers["Content-Type"] == "application/json"
            told = json.load(answer)
    assert told.pop("age_s") >= 0
    assert told == {"ocr": 3, "mailer": 0}
    assert (metric("ocr"), metric("mailer")) == (3, 0)


async def test_before_the_first_count_there_is_no_number() -> None:
    answer = ScalingSignal(("ocr",)).answer()
    assert answer.status == 503
    assert "ocr" not in json.loads(answer.body)


async def test_old_numbers_are_withheld(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = ScalingSignal(("of-this-test",))
    await signal.go_round(gateway.database)
    assert metric("of-this-test") == 0

    async def away(*_: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(scaling_signal, "slots_wanted", away)
    await signal.go_round(gateway.database)
    assert signal.answer().status == 200, "it is not old yet"
    monkeypatch.setattr(scaling_signal, "OUTDATED_AFTER_S", -1.0)
    await signal.go_round(gateway.database)
    assert signal.answer().status == 503
    assert metric("of-this-test") is None


async def test_every_gateway_counts_without_being_asked(gateway: Gateway) -> None:
    async def told() -> bool:
        return metric("ocr") is not None

    metrics.slots_wanted.clear()
    await until(told)
