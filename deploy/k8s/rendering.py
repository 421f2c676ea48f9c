"""Renders the manifests into the objects that `kubectl apply -k` would send."""

import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parent
ENVIRONMENTS = ("staging", "production")
FASTEST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Manifest = dict[str, Any]


class CannotRender(Exception):
    """kubectl is missing, or says what is wrong with the manifests."""


def overlay(environment: str) -> Path:
    """The folder that is applied in an environment; `migrations` in it is applied first."""
    return MANIFESTS / "overlays" / environment


def render(folder: Path) -> list[Manifest]:
    """The objects of the kustomization in `folder`. Raises CannotRender."""
    command = [kubectl_path(), "kustomize", str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if told.returncode:
        raise CannotRender(told.stderr.strip())
    loaded = yaml.load_all(told.stdout, Loader=FASTEST)
    return [manifest for manifest in loaded if manifest]


def kubectl_path() -> str:
    """The kubectl of this environment, else the machine's. Raises CannotRender."""
    found = shutil.which("kubectl", path=sysconfig.get_path("scripts")) or shutil.which("kubectl")
    if found is None:
        raise CannotRender("There is no kubectl: `make setup` installs one.")
    return found


def find(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name. Raises LookupError."""
    for manifest in manifests:
        if manifest["kind"] == kind and manifest["metadata"]["name"] == name:
            return manifest
    raise LookupError(f"There is no {kind} {name}")


def names_of(manifests: Iterable[Manifest], kind: str) -> list[str]:
    """The names of all objects of a kind."""
    return [manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == kind]


def pod_of(workload: Manifest) -> Manifest:
    """The specification of the pods of a Deployment, StatefulSet or Job."""
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def container_of(workload: Manifest) -> Manifest:
    """The one container of its pods."""
    (container,) = pod_of(workload)["containers"]
    return dict(container)


def environment_of(
    manifests: Iterable[Manifest], workload: Manifest, secrets: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, str]:
    """The variables that its container is given. `secrets`: what to take for the Secrets of these names."""
    manifests, container = list(manifests), container_of(workload)
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):  # of two with the same name the later counts
        if "configMapRef" in source:
            variables |= find(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            variables |= (secrets or {}).get(source["secretRef"]["name"], {})
    return variables | {variable["name"]: variable["value"] for variable in container.get("env", [])}
