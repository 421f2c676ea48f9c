"""Both environments keep the rules of the manifests, and each rule notices when it is broken."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from deploy.k8s.rendering import ENVIRONMENTS, Manifest, overlay
from libs.common.contracts.services import SERVICES
from tests.unit.deploy.k8s.planting import GONE, changed, without
from tests.unit.deploy.k8s.rules import RULES, broken
from tests.unit.deploy.k8s.trees import unchanged

Plant = Callable[[Sequence[Manifest]], list[Manifest]]
POD = "spec/template/spec"
BOX = f"{POD}/containers/0"


def at(kind: str, name: str, path: str, value: Any) -> Plant:
    return lambda manifests: changed(manifests, kind, name, path, value)


def annotation(name: str, value: str) -> Plant:
    return at("Ingress", "gateway", f"metadata/annotations/nginx.ingress.kubernetes.io~proxy-{name}", value)


PLANTED: list[tuple[str, Plant]] = [
    ("pods_are_restricted", at("Deployment", "ocr", f"{POD}/securityContext/runAsNonRoot", False)),
    ("pods_are_restricted", at("Deployment", "ocr", f"{POD}/securityContext/runAsUser", 0)),
    ("pods_are_restricted", at("Deployment", "ocr", f"{POD}/securityContext/seccompProfile", GONE)),
    ("pods_are_restricted", at("Deployment", "ocr", f"{BOX}/securityContext/allowPrivilegeEscalation", True)),
    ("pods_are_restricted", at("Deployment", "ocr", f"{BOX}/securityContext/capabilities/add", ["NET_ADMIN"])),
    ("pods_are_restricted", at("Deployment", "ocr", f"{BOX}/securityContext/runAsUser", 0)),
    ("pods_are_restricted", at("Deployment", "ocr", f"{POD}/hostNetwork", True)),
    ("pods_are_restricted", at("Deployment", "ocr", f"{POD}/volumes/1", {"name": "x", "hostPath": {"path": "/"}})),
    ("pods_are_restricted", at("Deployment", "ocr", f"{BOX}/ports/0/hostPort", 9100)),
    (
        "namespaces_refuse_other_pods",
        at("Namespace", "argosy-staging", "metadata/labels/pod-security.kubernetes.io~enforce", "baseline"),
    ),
    ("pods_know_nothing_of_the_cluster", at("Deployment", "mailer", f"{POD}/automountServiceAccountToken", GONE)),
    ("pods_know_nothing_of_the_cluster", at("Deployment", "mailer", f"{POD}/enableServiceLinks", True)),
    ("pods_know_nothing_of_the_cluster", at("ServiceAccount", "ocr", "automountServiceAccountToken", GONE)),
    ("each_has_an_account_of_its_own", at("Deployment", "mailer", f"{POD}/serviceAccountName", "gateway")),
    ("each_has_an_account_of_its_own", lambda all_: without(all_, "ServiceAccount", "mailer")),
    (
        "files_are_written_to_bounded_folders_only",
        at("Deployment", "ocr", f"{BOX}/securityContext/readOnlyRootFilesystem", False),
    ),
    ("files_are_written_to_bounded_folders_only", at("Deployment", "ocr", f"{POD}/volumes/0/emptyDir", {})),
    ("files_are_written_to_bounded_folders_only", at("Deployment", "ocr", f"{BOX}/volumeMounts", GONE)),
    ("the_autoscaler_alone_says_how_many", at("Deployment", "gateway", "spec/replicas", 3)),
    ("the_autoscaler_alone_says_how_many", lambda all_: without(all_, "HorizontalPodAutoscaler", "ocr")),
    (
        "workers_follow_their_queue",
        at("HorizontalPodAutoscaler", "ocr", "spec/metrics/0/external/target/averageValue", "5"),
    ),
    (
        "workers_follow_their_queue",
        at(
            "HorizontalPodAutoscaler", "ocr", "spec/metrics/0/external/metric/selector/matchLabels/queue", "mailer"
        ),
    ),
    ("workers_follow_their_queue", at("ConfigMap", "ocr", "data/OCR_CONCURRENCY", "3")),
    (
        "workers_follow_their_queue",
        at("HorizontalPodAutoscaler", "mailer", "spec/behavior/scaleDown/stabilizationWindowSeconds", 0),
    ),
    (
        "workers_follow_their_queue",
        at("HorizontalPodAutoscaler", "gateway", "spec/metrics/0/resource/target/averageUtilization", 95),
    ),
    (
        "rollouts_take_nothing_away",
        at("Deployment", "gateway", "spec/strategy/rollingUpdate/maxUnavailable", 1),
    ),
    ("rollouts_take_nothing_away", at("Deployment", "gateway", "spec/revisionHistoryLimit", GONE)),
    (
        "rollouts_take_nothing_away",
        at("Deployment", "gateway", f"{BOX}/lifecycle", {"preStop": {"exec": {"command": ["sleep", "5"]}}}),
    ),
    ("evictions_take_one_at_a_time", lambda all_: without(all_, "PodDisruptionBudget", "ocr")),
    ("evictions_take_one_at_a_time", at("PodDisruptionBudget", "ocr", "spec/maxUnavailable", 0)),
    (
        "evictions_take_one_at_a_time",
        at("PodDisruptionBudget", "ocr", "spec/selector/matchLabels", {"app.kubernetes.io/name": "mailer"}),
    ),
    ("pods_are_spread_over_nodes", at("Deployment", "ocr", f"{POD}/topologySpreadConstraints", GONE)),
    ("resources_are_said", at("Deployment", "ocr", f"{BOX}/resources/requests/cpu", GONE)),
    ("resources_are_said", at("Deployment", "ocr", f"{BOX}/resources/limits/memory", "64q")),
    ("resources_are_said", at("Deployment", "gateway", f"{BOX}/resources/limits/cpu", "1")),
    ("resources_are_said", at("Deployment", "mailer", f"{BOX}/resources/limits/memory", "128Mi")),
    ("sandboxes_fit_into_memory", at("ConfigMap", "ocr", "data/OCR_MEMORY_MB", "3072")),
    ("sandboxes_fit_into_memory", at("ConfigMap", "mailer", "data/EMAIL_CONCURRENCY", "50")),
    ("images_are_named_by_digest", at("Deployment", "ocr", f"{BOX}/image", "registry.example.com/argosy/ocr:v1")),
    ("images_are_named_by_digest", at("Deployment", "ocr", f"{BOX}/image", "argosy/ocr")),
    ("labels_say_whose_it_is", at("Service", "gateway", "metadata/labels", GONE)),
    (
        "labels_say_whose_it_is",
        at("Deployment", "ocr", "spec/selector/matchLabels/app.kubernetes.io~part-of", "argosy"),
    ),
    ("probes_ask_the_process_only", at("Deployment", "ocr", f"{BOX}/livenessProbe/httpGet/path", "/readyz")),
    ("probes_ask_the_process_only", at("Deployment", "ocr", f"{BOX}/startupProbe", GONE)),
    ("probes_ask_the_process_only", at("Deployment", "gateway", f"{BOX}/readinessProbe/httpGet/port", "http")),
    (
        "secrets_are_named_and_not_written",
        lambda all_: [*all_, {"kind": "Secret", "metadata": {"name": "x", "labels": {"app": "y"}}}],
    ),
    ("secrets_are_named_and_not_written", at("ConfigMap", "gateway", "data/TOKEN_SECRET", "r" * 32)),
    ("secrets_are_named_and_not_written", at("ConfigMap", "fleet", "data/BLOB_URL", "s3://me:secret@bucket")),
    ("what_is_referred_to_exists", at("Deployment", "ocr", f"{BOX}/envFrom/1/configMapRef/name", "ocr")),
    (
        "what_is_referred_to_exists",
        at("HorizontalPodAutoscaler", "ocr", "spec/scaleTargetRef/name", "reader"),
    ),
    ("what_is_referred_to_exists", at("Service", "gateway", "spec/selector/app.kubernetes.io~name", "getaway")),
    ("what_is_referred_to_exists", at("Service", "gateway", "spec/ports/0/targetPort", "htpp")),
    ("the_table_of_services_is_what_runs", lambda all_: without(all_, "Deployment", "mailer")),
    ("the_table_of_services_is_what_runs", at("Deployment", "mailer", f"{BOX}/ports/1/containerPort", 8025)),
    ("the_ingress_passes_everything_on", annotation("body-size", "1m")),
    ("the_ingress_passes_everything_on", annotation("request-buffering", "on")),
    ("the_ingress_passes_everything_on", annotation("buffering", "on")),
    ("the_ingress_passes_everything_on", at("Ingress", "gateway", "spec/tls/0/hosts/0", "another.example.com")),
    ("staging_sends_no_mail", at("Deployment", "mailer", f"{BOX}/env", GONE)),
    ("staging_sends_no_mail", at("Deployment", "mailer", f"{BOX}/env/0/value", "smtp://relay.example.com:25")),
    (
        "staging_sends_no_mail",
        at("NetworkPolicy", "mailer", "spec/egress/0/to/1", {"ipBlock": {"cidr": "0.0.0.0/0"}}),
    ),
]


@pytest.fixture(scope="module")
def staging() -> list[Manifest]:
    return unchanged(overlay("staging"))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("part", [".", "migrations"])
def test_an_environment_keeps_all_rules(environment: str, part: str) -> None:
    manifests = unchanged(overlay(environment) / part)
    assert manifests
    assert broken(manifests) == []


def test_servers_for_a_cluster_without_keep_them_too() -> None:
    servers = unchanged(overlay("staging") / "servers")
    assert len([one for one in servers if one["kind"] == "StatefulSet"]) == 3
    assert broken(servers) == []


@pytest.mark.parametrize(("name", "plant"), PLANTED, ids=[f"{name}-{n}" for n, (name, _) in enumerate(PLANTED)])
def test_what_breaks_a_rule_is_told(staging: list[Manifest], name: str, plant: Plant) -> None:
    told = list(RULES[name](plant(staging), SERVICES))
    assert told, f"{name} has noticed nothing"


def test_each_rule_has_something_that_breaks_it() -> None:
    assert {name for name, _ in PLANTED} == RULES.keys()
