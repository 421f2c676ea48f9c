"""The API server of every supported version takes the manifests. A field that it does not know is refused."""

import pytest

from deploy.k8s.rendering import ENVIRONMENTS, find, overlay
from tests.unit.deploy.k8s.planting import changed
from tests.unit.deploy.k8s.schemas import NEWEST, OLDEST, refused
from tests.unit.deploy.k8s.trees import unchanged

VERSIONS = (OLDEST, "1.32", NEWEST)
PARTS = [f"{name}/{part}" for name in ENVIRONMENTS for part in ("", "migrations", "namespace")]


@pytest.mark.parametrize("part", [*PARTS, "staging/servers"])
def test_it_is_taken(part: str) -> None:
    manifests = unchanged(overlay(part))
    assert manifests
    assert [wrong for version in VERSIONS for wrong in refused(manifests, version)] == []


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("Deployment", "ocr", "spec/template/spec/containers/0/imagePolicy", "Always"),
        ("Deployment", "ocr", "spec/template/spec/terminationGracePeriodSeconds", "130"),
        ("NetworkPolicy", "dns", "spec/egress/0/destination", []),
        ("HorizontalPodAutoscaler", "ocr", "spec/minReplica", 1),
        ("PodDisruptionBudget", "ocr", "spec/unhealthyPods", "AlwaysAllow"),
    ],
)
def test_what_it_does_not_know_is_refused(kind: str, name: str, path: str, value: object) -> None:
    before = [find(unchanged(overlay("production")), kind, name)]
    planted = changed(before, kind, name, path, value)
    for version in VERSIONS:
        assert refused(before, version) == []
        assert len(refused(planted, version)) == 1
