"""The releases that are kept in the namespace, and removing what no release needs any more."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.k8s.rendering import Manifest
from deploy.release.cluster import Cluster, identity

RELEASE_LABEL = "argosy/release"
OURS = "app.kubernetes.io/part-of=argosy"
KEPT = 5
"""As many releases as a Deployment keeps ReplicaSets (`revisionHistoryLimit`)."""


@dataclass(frozen=True)
class Release:
    """What was applied: its number in the namespace, the commit, and the manifests."""

    number: int
    commit: str
    manifests: list[Manifest]

    @property
    def name(self) -> str:
        """The ConfigMap that keeps it."""
        return f"argosy-release-{self.number}"


def releases(cluster: Cluster) -> list[Release]:
    """The releases that are kept, oldest first. Raises Refused."""
    found = [
        Release(
            int(one["metadata"]["labels"][RELEASE_LABEL]),
            one["data"]["commit"],
            json.loads(one["data"]["manifests"]),
        )
        for one in cluster.list("configmap", RELEASE_LABEL)
    ]
    return sorted(found, key=lambda release: release.number)


def keep(cluster: Cluster, release: Release, before: Sequence[Release]) -> None:
    """Keep `release`, and remove what only releases needed that are not kept. Raises Refused."""
    text = json.dumps(release.manifests, separators=(",", ":"))
    metadata = {"name": release.name, "labels": {RELEASE_LABEL: str(release.number)}}
    data = {"commit": release.commit, "manifests": text}
    # Created, not applied: kubectl would note the content once more, and annotations have a limit of 256 KiB.
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    if before:
        remove_what_is_gone(cluster, before[-1].manifests, release.manifests)
    history = [*before, release]
    for old in history[:-KEPT]:
        cluster.delete("configmap", old.name)
    _remove_old_settings(cluster, history[-KEPT:])


def gone(before: Sequence[Manifest], after: Sequence[Manifest]) -> list[tuple[str, str]]:
    """Kind and name of what `before` has and `after` has not, but for settings and what holds data."""
    stays = {identity(manifest) for manifest in after}
    removable = (one for one in before if one["kind"] not in ("ConfigMap", "PersistentVolumeClaim"))
    return [identity(manifest) for manifest in removable if identity(manifest) not in stays]


def remove_what_is_gone(cluster: Cluster, before: Sequence[Manifest], after: Sequence[Manifest]) -> None:
    """Delete what is `gone`. Raises Refused."""
    for kind, name in gone(before, after):
        cluster.delete(kind, name)


def _remove_old_settings(cluster: Cluster, kept: Sequence[Release]) -> None:
    """Delete settings that no kept release has. They are named by their content, so that old ones stay behind."""
    needed = {identity(manifest) for release in kept for manifest in release.manifests}
    for one in cluster.list("configmap", OURS):
        if ("configmap", one["metadata"]["name"]) not in needed:
            cluster.delete("configmap", one["metadata"]["name"])
