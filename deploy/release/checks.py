"""What must be true before anything is changed. Each raises Refused and says what to do."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.k8s.rendering import Manifest, pod_of
from deploy.release.cluster import Cluster, Refused

WORKLOADS = ("Deployment", "StatefulSet")
NOT_BUILT = "@sha256:" + 64 * "0"
"""Stands in an overlay for an image that has not been built yet."""
SECRETS_ANNOTATION = "argosy/secrets"
"""Of a pod: the versions of the Secrets that it was started with."""


def clean_commit() -> str:
    """The commit that is checked out. If the files differ from it, nobody could deploy them again."""
    if changed := _git("status", "--porcelain"):
        raise Refused(f"These files differ from the commit. Commit or remove them first:\n{changed}")
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def check_images(manifests: Sequence[Manifest]) -> None:
    """Every image has the digest of one that was built: a tag may name another image tomorrow."""
    images = {
        container["image"]
        for manifest in manifests
        if manifest["kind"] in (*WORKLOADS, "Job")
        for container in _containers(pod_of(manifest))
    }
    loose = sorted(image for image in images if "@sha256:" not in image or image.endswith(NOT_BUILT))
    if loose:
        raise Refused(
            f"These images have no digest: {', '.join(loose)}. `make images` prints the digests; images/ in the"
            " overlay takes them."
        )


def check_namespace(cluster: Cluster, namespace: Manifest, *, first: bool) -> None:
    """The environment is in this cluster. With `first` it is made."""
    if cluster.get("namespace", cluster.namespace) is None:
        if not first:
            raise Refused(
                f"This cluster has no namespace {cluster.namespace}. Is it the right one? `kubectl config"
                " current-context` says which it is. If this is the first release there, say FIRST=1."
            )
        cluster.apply([namespace])


def stamp_secrets(cluster: Cluster, manifests: Sequence[Manifest]) -> None:
    """Note in each workload which versions of its Secrets it starts with: so a changed Secret restarts its pods.

    All Secrets are there.
    """
    versions = {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in cluster.list("secrets")}
    workloads = [manifest for manifest in manifests if manifest["kind"] in (*WORKLOADS, "Job")]
    needed = set[str]().union(*(secrets_of(pod_of(workload)) for workload in workloads))
    if missing := sorted(needed - versions.keys()):
        raise Refused(f"{cluster.namespace} lacks the Secrets {', '.join(missing)}: see secrets.example.env.")
    for workload in workloads:
        if workload["kind"] in WORKLOADS:
            stamp = ",".join(f"{name}={versions[name]}" for name in sorted(secrets_of(pod_of(workload))))
            metadata = workload["spec"]["template"].setdefault("metadata", {})
            metadata.setdefault("annotations", {})[SECRETS_ANNOTATION] = stamp


def secrets_of(pod: Manifest) -> set[str]:
    """The names of the Secrets without which a pod does not start."""
    found = [
        source["secretRef"]
        for container in _containers(pod)
        for source in container.get("envFrom", ())
        if "secretRef" in source
    ]
    found += [
        variable["valueFrom"]["secretKeyRef"]
        for container in _containers(pod)
        for variable in container.get("env", ())
        if "secretKeyRef" in variable.get("valueFrom", {})
    ]
    volumes = [volume["secret"] for volume in pod.get("volumes", ()) if "secret" in volume]
    found += [{**volume, "name": volume["secretName"]} for volume in volumes]
    return {source["name"] for source in found if not source.get("optional")}


def _containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def confirm(environment: str, *, yes: bool) -> None:
    """Production is changed only when somebody says so."""
    if environment != "production" or yes:
        return
    if not sys.stdin.isatty():
        raise Refused("Production is changed only when YES=1 is said, or on a terminal.")
    if input("This changes production. Type production to go on: ").strip() != "production":
        raise Refused("Nothing was changed.")
