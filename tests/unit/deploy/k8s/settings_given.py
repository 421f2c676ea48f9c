"""The settings of a service as its pods are given them: ConfigMaps, and the templates of Secrets filled in."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from deploy.k8s.rendering import MANIFESTS, Manifest, container_of, environment_of
from deploy.local import settings as fleet


def template(path: Path) -> dict[str, str]:
    """The variables of a `secrets.example.env`, filled in."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    pairs = (line.split("=", 1) for line in lines)
    return {name: value.replace("REPLACE", "r" * 32) for name, value in pairs}


def variables_of(manifests: Iterable[Manifest], workload: Manifest, tree: Path = MANIFESTS) -> dict[str, str]:
    """All variables that the container is given."""
    secrets = {
        f"{path.parent.name}-secrets": template(path) for path in sorted(tree.glob("*/*/secrets.example.env"))
    }
    named = {one["secretRef"]["name"] for one in container_of(workload).get("envFrom", []) if "secretRef" in one}
    assert named <= secrets.keys(), f"without a template: {named - secrets.keys()}"
    return environment_of(manifests, workload, secrets)


def given_to(manifests: Iterable[Manifest], workload: Manifest, tree: Path = MANIFESTS) -> Any:
    """The Settings of a Deployment's service. Raises ValidationError."""
    with patch.dict(os.environ, variables_of(manifests, workload, tree), clear=True):
        return fleet.settings_of(workload["metadata"]["name"])()
