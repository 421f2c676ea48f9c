"""Manifests that cannot be rendered are refused, with kubectl's own words."""

from pathlib import Path

import pytest

from deploy.k8s.rendering import (
    CannotRender,
    Manifest,
    container_of,
    environment_of,
    find,
    names_of,
    overlay,
    render,
)


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [missing.yaml]\n")
    with pytest.raises(CannotRender, match=r"missing\.yaml"):
        render(tmp_path)


def test_a_typo_in_a_kustomization_is_told(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resuorces: []\n")
    with pytest.raises(CannotRender, match="resuorces"):
        render(tmp_path)


def test_of_two_sources_the_later_counts_and_the_container_itself_most() -> None:
    def settings(name: str, **data: str) -> dict[str, object]:
        return {"kind": "ConfigMap", "metadata": {"name": name}, "data": data}

    sources = [{"configMapRef": {"name": "a"}}, {"configMapRef": {"name": "b"}}, {"secretRef": {"name": "c"}}]
    container = {"envFrom": sources, "env": [{"name": "Z", "value": "itself"}]}
    workload = {"spec": {"template": {"spec": {"containers": [container]}}}}
    manifests = [settings("a", X="a", Y="a", Z="a"), settings("b", Y="b", Z="b")]
    secrets = {"c": {"Z": "c", "S": "c"}}
    assert environment_of(manifests, workload, secrets) == {"X": "a", "Y": "b", "Z": "itself", "S": "c"}


def test_objects_are_found_by_kind_and_name() -> None:
    manifests = render(overlay("staging") / "namespace")
    assert names_of(manifests, "Namespace") == ["argosy-staging"]
    assert find(manifests, "PriorityClass", "argosy-staging")["value"] > 0
    with pytest.raises(LookupError):
        find(manifests, "Namespace", "argosy-production")
    with pytest.raises(LookupError):
        find(manifests, "Deployment", "argosy-staging")


def test_a_pod_has_one_container() -> None:
    two: Manifest = {"spec": {"template": {"spec": {"containers": [{}, {}]}}}}
    with pytest.raises(ValueError, match="too many"):
        container_of(two)
