"""The chain of times holds in both environments, and each rule of it notices when it is broken."""

import re
from collections.abc import Sequence

import pytest

from deploy import times
from deploy.k8s.rendering import ENVIRONMENTS, Manifest, overlay, render
from libs.common import config, probes
from libs.common.bus import streams
from libs.common.ledger import claim
from services.gateway.config import Settings
from services.gateway.endpoints import submission
from services.gateway.engine import dispatcher
from services.gateway.identity import authentication
from tests.unit.deploy.k8s.planting import changed

POD = "spec/template/spec"
GRACE = f"{POD}/terminationGracePeriodSeconds"
BOX = f"{POD}/containers/0"
READ = "metadata/annotations/nginx.ingress.kubernetes.io~proxy-read-timeout"
NAMESPACE = ("Namespace", "argosy-production", "metadata/annotations/argosy~")


@pytest.fixture(scope="module")
def production() -> list[Manifest]:
    return render(overlay("production"))


def broken(manifests: Sequence[Manifest]) -> list[str]:
    return times.broken(times.chain(manifests))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_chain_holds(environment: str) -> None:
    links = times.chain(render(overlay(environment)))
    assert len(links) > 40
    assert times.broken(links) == []


IN_MANIFESTS: list[tuple[str, str, str, object, str]] = [
    (*NAMESPACE[:2], f"{NAMESPACE[2]}endpoint-removed-within-s", "11", "GATEWAY_DRAIN_S is 10"),
    ("ConfigMap", "gateway", "data/GATEWAY_DRAIN_S", "2", "GATEWAY_DRAIN_S is 2"),
    (*NAMESPACE[:2], f"{NAMESPACE[2]}ingress-keep-alive-s", "75", "GATEWAY_KEEP_ALIVE_S is 75"),
    ("ConfigMap", "gateway", "data/GATEWAY_KEEP_ALIVE_S", "5", "GATEWAY_KEEP_ALIVE_S is 5"),
    ("Ingress", "gateway", READ, "45", "ingress read timeout is 45"),
    ("ConfigMap", "ocr", "data/OCR_PAGE_TIMEOUT_S", "240", "ocr SHUTDOWN_GRACE_S is 120"),
    ("ConfigMap", "mailer", "data/SHUTDOWN_GRACE_S", "20", "mailer SHUTDOWN_GRACE_S is 20"),
    ("ConfigMap", "gateway", "data/TERMINATION_GRACE_S", "30", "gateway TERMINATION_GRACE_S is 30"),
    ("ConfigMap", "ocr", "data/TERMINATION_GRACE_S", "140", "ocr terminationGracePeriodSeconds is 130"),
    (
        "Deployment",
        "ocr",
        f"{POD}/terminationGracePeriodSeconds",
        30,
        "ocr terminationGracePeriodSeconds is 30",
    ),
    ("Deployment", "ocr", "spec/progressDeadlineSeconds", 60, "ocr startup probe is 120"),
    ("Deployment", "ocr", f"{BOX}/livenessProbe/failureThreshold", 30, "ocr liveness probe is 300"),
    (
        *("Deployment", "ocr", f"{BOX}/livenessProbe/terminationGracePeriodSeconds", 130),
        "ocr grace of the liveness probe is 130",
    ),
    ("Deployment", "ocr", f"{BOX}/readinessProbe/periodSeconds", 10, "ocr readiness probe is 30"),
    (*NAMESPACE[:2], f"{NAMESPACE[2]}postgres-max-connections", "100", "connections to PostgreSQL is 299"),
    ("HorizontalPodAutoscaler", "ocr", "spec/maxReplicas", 60, "connections to PostgreSQL is 449"),
    ("ConfigMap", "mailer", "data/DB_MAX_CONNECTIONS", "30", "connections to PostgreSQL is 563"),
]


@pytest.mark.parametrize(("kind", "name", "path", "value", "told"), IN_MANIFESTS)
def test_a_wrong_time_in_the_manifests_is_told(
    production: list[Manifest], kind: str, name: str, path: str, value: object, told: str
) -> None:
    found = broken(changed(production, kind, name, path, value))
    assert any(mistake.startswith(f"{told} ") for mistake in found), found


IN_CODE: list[tuple[object, str, float, str]] = [
    (claim, "LEASE_S", 15.0, "lease is 15"),
    (claim, "LEASE_S", 31.0, "a stuck process fails /livez after is 30"),
    (claim, "HEARTBEAT_EVERY_S", 7.0, "lease is 20"),
    (dispatcher, "REPAIR_EVERY_S", 5.0, "killed worker's job is queued again is 30"),
    (dispatcher, "LOST_AFTER_S", 900.0, "a lost ticket is sent again after is 900"),
    (streams, "TICKET_LIFE_S", 2.0, "a lost ticket is sent again after is 3"),
    (dispatcher, "ACCEPT_PATIENCE_S", 30.0, "ingress read timeout is 75"),
    (dispatcher, "DOWN_ROUND_S", 5.0, "not ready on the public port after is 15"),
    (submission, "WAIT_AT_MOST_S", 90, "ingress read timeout is 75"),
    (authentication, "CACHED_FOR_S", 5.0, "keys are believed for is 5"),
    (probes, "WEDGED_AFTER_S", 15.0, "a stuck process fails /livez after is 15"),
    (config, "STOPPING_TAKES_S", 20.0, "gateway TERMINATION_GRACE_S is 40"),
]


@pytest.mark.parametrize(("module", "constant", "value", "told"), IN_CODE)
def test_a_wrong_time_in_the_code_is_told(
    monkeypatch: pytest.MonkeyPatch,
    production: list[Manifest],
    module: object,
    constant: str,
    value: float,
    told: str,
) -> None:
    monkeypatch.setattr(module, constant, value)
    found = broken(production)
    assert any(mistake.startswith(f"{told} ") for mistake in found), found


def test_each_rule_has_something_that_breaks_it(production: list[Manifest]) -> None:
    ruled = {
        re.sub("^(gateway|ocr|mailer|analytics|sync|exporter) ", "", link.name)
        for link in times.chain(production)
        if link.must
    }
    planted = " ".join([*(mark[4] for mark in IN_MANIFESTS), *(mark[3] for mark in IN_CODE)])
    on_drain = {"Prefer: wait", "event streams send something every", "an accept waits for PostgreSQL"}
    assert {name for name in ruled - on_drain if f"{name} is" not in planted} == set()


def test_the_defaults_keep_a_connection_longer_than_an_ingress_does(production: list[Manifest]) -> None:
    default = Settings.model_fields["gateway_keep_alive_s"].default
    kept = next(link.value for link in times.chain(production) if link.name == "ingress keeps an idle connection")
    assert default > kept


def test_the_table_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["times", "staging"])
    times.main()
    printed = capsys.readouterr().out
    assert re.search(r"GATEWAY_DRAIN_S +10 ", printed)
    assert re.search(r"ocr terminationGracePeriodSeconds +130 ", printed)


def test_a_broken_chain_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["times"])
    monkeypatch.setattr(claim, "LEASE_S", 15.0)
    with pytest.raises(SystemExit, match="lease is 15"):
        times.main()
    assert "lease" in capsys.readouterr().out


def test_of_another_environment_is_said_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["times", "moon"])
    with pytest.raises(SystemExit, match="staging and production"):
        times.main()
