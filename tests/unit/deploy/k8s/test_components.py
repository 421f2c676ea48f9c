"""What may be added to an environment keeps the rules too, and does what it is for."""

import json
import re
import subprocess
import sysconfig
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from deploy import permissions, times
from deploy.grafana.__main__ import prepare, rules
from deploy.grafana.boards import BOARDS
from deploy.grafana.rendering import to_json
from deploy.k8s.rendering import MANIFESTS, Manifest, container_of, find, names_of, overlay, render
from libs.common.contracts.services import QUEUES, SERVICES
from tests.unit.deploy.k8s.network_policies import Place, Policies, Way, pods_of
from tests.unit.deploy.k8s.planting import changed
from tests.unit.deploy.k8s.rules import RULES, broken
from tests.unit.deploy.k8s.schemas import OLDEST, refused
from tests.unit.deploy.k8s.settings_given import given_to, template
from tests.unit.deploy.k8s.trees import added, copied, unchanged

OF_OPERATORS = {"ScaledObject", "PodMonitor", "PrometheusRule"}
"""Kinds that Kubernetes itself has no schema of."""
MOST_KEPT = 1024 * 1024
"""Bytes of a ConfigMap. A release keeps all manifests in one (deploy/release/history.py)."""
MOST_APPLIED = 256 * 1024
"""Bytes of an annotation. kubectl notes in one what it has applied."""
SERVERS = MANIFESTS / "components" / "servers"


def with_component(environment: str, *names: str) -> list[Manifest]:
    return deepcopy(_with_component(environment, *names))


@cache
def _with_component(environment: str, *names: str) -> list[Manifest]:
    with TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        added(
            tree / "overlays" / environment / "kustomization.yaml",
            "components",
            *(f"../../components/{n}" for n in names),
        )
        prepare(tree / "components")
        return render(tree / "overlays" / environment)


@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize("component", ["boards", "keda", "pod-monitor", "rules", "telemetry", "volume"])
def test_with_a_component_the_rules_are_kept(environment: str, component: str) -> None:
    manifests = with_component(environment, component)
    assert len(manifests) > len(unchanged(overlay(environment))) - len(QUEUES)
    assert broken(manifests) == []
    assert times.broken(times.chain(manifests)) == []
    for manifest in manifests:
        assert manifest["metadata"].get("namespace", "") in ("", f"argosy-{environment}")
    assert refused([one for one in manifests if one["kind"] not in OF_OPERATORS], OLDEST) == []


@pytest.mark.parametrize(("environment", "least"), [("staging", 1), ("production", 2)])
def test_keda_scales_the_workers_and_nothing_else_does(environment: str, least: int) -> None:
    manifests = with_component(environment, "keda")
    assert sorted(names_of(manifests, "ScaledObject")) == sorted(QUEUES)
    assert names_of(manifests, "HorizontalPodAutoscaler") == ["gateway"]
    for queue in QUEUES:
        assert find(manifests, "ScaledObject", queue)["spec"]["minReplicaCount"] == least


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec/triggers/0/metadata/valueLocation", "mailer"),
        ("spec/triggers/0/metadata/targetValue", "1"),
        ("spec/triggers/0/metadata/url", "http://gateway-probes.default.svc:9100/slots-wanted"),
        ("spec/minReplicaCount", 0),
        ("spec/fallback", {"failureThreshold": 3, "replicas": 2}),
    ],
)
def test_a_worker_that_keda_would_scale_wrongly_is_noticed(path: str, value: object) -> None:
    manifests = changed(with_component("production", "keda"), "ScaledObject", "ocr", path, value)
    assert list(RULES["workers_follow_their_queue"](manifests, SERVICES))


def test_keda_reaches_the_gateways_and_no_other_pod() -> None:
    manifests = with_component("production", "keda")
    keda = Place("keda", "10.244.9.9", "keda")
    policies = Policies(manifests)
    reached = {pod.name for pod in pods_of(manifests) if policies.may_enter(Way(keda, pod, "TCP", 9100))}
    assert reached == {"gateway"}


def test_all_may_tell_the_monitoring_of_themselves_and_nobody_else() -> None:
    manifests = with_component("production", "telemetry")
    policies = Policies(manifests)
    collector, other = Place("collector", "10.244.9.9", "monitoring"), Place("x", "10.244.9.8", "default")
    for pod in pods_of(manifests):
        assert policies.may_leave(Way(pod, collector, "TCP", 4318))
        assert policies.may_leave(Way(pod, collector, "TCP", 8000))
        assert not policies.may_leave(Way(pod, other, "TCP", 4318))
    for service in SERVICES:
        given = given_to(manifests, find(manifests, "Deployment", service.name))
        assert given.tracing_url == "http://collector.monitoring:4318"


def test_a_volume_holds_the_blobs_of_all() -> None:
    manifests = with_component("staging", "volume")
    for service in SERVICES:
        deployment = find(manifests, "Deployment", service.name)
        assert given_to(manifests, deployment).blob_url.get_secret_value() == "file:///blobs"
        mounts = {mount["mountPath"]: mount["name"] for mount in container_of(deployment)["volumeMounts"]}
        assert mounts == {"/tmp": "tmp", "/blobs": "blobs"}  # noqa: S108


def test_the_pod_monitor_finds_every_pod() -> None:
    manifests = with_component("production", "pod-monitor")
    wanted = find(manifests, "PodMonitor", "argosy")["spec"]
    for pod in pods_of(manifests):
        assert wanted["selector"]["matchLabels"].items() <= pod.labels.items()
    assert [endpoint["port"] for endpoint in wanted["podMetricsEndpoints"]] == ["probes"]


def test_grafana_is_given_every_board() -> None:
    manifests = with_component("production", "boards")
    for board in BOARDS:
        settings = find(manifests, "ConfigMap", f"board-{board.name}")
        assert settings["data"] == {f"{board.name}.json": to_json(board)}
        assert settings["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert len(json.dumps(settings)) < MOST_APPLIED
    assert len([one for one in names_of(manifests, "ConfigMap") if one.startswith("board-")]) == len(BOARDS)


def test_the_operator_is_given_every_rule() -> None:
    manifests = with_component("production", "rules")
    given = find(manifests, "PrometheusRule", "argosy")
    assert given["spec"] == rules()["spec"]
    assert len(json.dumps(given)) < MOST_APPLIED


def test_a_release_with_all_that_can_be_added_can_be_kept() -> None:
    manifests = with_component("production", "keda", "pod-monitor", "volume", "boards", "rules")
    assert len(json.dumps(manifests, separators=(",", ":"))) < MOST_KEPT


def test_nats_knows_the_accounts_that_the_table_of_services_gives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["permissions", "nats"])
    permissions.main()
    text = (SERVERS / "accounts.conf").read_text()
    assert text == capsys.readouterr().out, "python -m deploy.permissions nats > …/servers/accounts.conf"
    assert set(re.findall(r"\$(NATS_\w+)", text)) == template(SERVERS / "nats.example.env").keys()


def test_nats_can_read_its_configuration(tmp_path: Path) -> None:
    for name in ("nats.conf", "accounts.conf"):
        (tmp_path / name).write_text((SERVERS / name).read_text().replace('"/data', f'"{tmp_path}'))
    program, passwords = (
        Path(sysconfig.get_path("scripts")) / "nats-server",
        template(SERVERS / "nats.example.env"),
    )
    command = [str(program), "-t", "-c", str(tmp_path / "nats.conf")]
    told = subprocess.run(command, env=passwords, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    without = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert "NATS_" in without.stderr  # a password that is missing is no empty password


def test_postgres_takes_as_many_connections_as_are_reckoned_with() -> None:
    servers = unchanged(overlay("staging") / "servers")
    arguments = container_of(find(servers, "StatefulSet", "postgres"))["args"]
    (namespace,) = (one for one in unchanged(overlay("staging")) if one["kind"] == "Namespace")
    allowed = namespace["metadata"]["annotations"]["argosy/postgres-max-connections"]
    assert f"max_connections={allowed}" in arguments


def test_redis_forgets_nothing_and_knows_its_users_only() -> None:
    redis = container_of(find(unchanged(overlay("staging") / "servers"), "StatefulSet", "redis"))
    pairs = dict(zip(redis["args"][::2], redis["args"][1::2], strict=True))
    assert pairs["--maxmemory-policy"] == "noeviction"
    assert pairs["--aclfile"].startswith("/etc/redis/")


@pytest.mark.parametrize("port", [5432, 6379, 4222])
def test_the_addresses_in_the_templates_are_those_of_the_servers(port: int) -> None:
    servers = unchanged(overlay("staging") / "servers")
    services = [one for one in servers if one["kind"] == "Service"]
    names = {one["spec"]["ports"][0]["port"]: one["metadata"]["name"] for one in services}
    templates = sorted((MANIFESTS / "services").glob("*/secrets.example.env"))
    hosts = re.findall(rf"@([^:/]+):{port}\b", "".join(path.read_text() for path in templates))
    assert set(hosts) == {names[port]}
