"""The releases that are kept in the namespace, and removing what no release needs any more."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.k8s.rendering import Manifest
from deploy.release.cluster import Cluster, Refused, identity

RELEASE_LABEL = "argosy/release"
BEGUN_LABEL = "argosy/begun"
"""On a release from its beginning until it is out. While it is there, no other is begun."""
OURS = "app.kubernetes.io/part-of=argosy"
KEPT = 5
"""As many releases as a Deployment keeps ReplicaSets (`revisionHistoryLimit`)."""


@dataclass(frozen=True)
class Release:
    """What is applied: its number in the namespace, the commit, the manifests, and since when."""

    number: int
    commit: str
    manifests: list[Manifest]
    since: str
    out: bool = False

    @property
    def name(self) -> str:
        """The ConfigMap that keeps it."""
        return f"argosy-release-{self.number}"


def releases(cluster: Cluster, *, killed: bool = False) -> list[Release]:
    """The releases that are kept, oldest first. Raises Refused if one is under way, unless it was `killed`."""
    found = [_read(one) for one in cluster.list("configmap", RELEASE_LABEL)]
    history = sorted(found, key=lambda release: release.number)
    if history and not history[-1].out and not killed:
        last = history[-1]
        raise Refused(
            f"Release {last.number}, of commit {last.commit[:12]}, is under way since {last.since}."
            " If nobody runs it any more, say KILLED=1."
        )
    return history


def _read(kept: Manifest) -> Release:
    labels, data = kept["metadata"]["labels"], kept["data"]
    manifests = json.loads(data["manifests"])
    return Release(int(labels[RELEASE_LABEL]), data["commit"], manifests, data["since"], BEGUN_LABEL not in labels)


def begin(cluster: Cluster, commit: str, manifests: list[Manifest], before: Sequence[Release]) -> Release:
    """Note what is about to be applied, so that it is known even if this process is killed. Raises Refused."""
    number = before[-1].number + 1 if before else 1
    release = Release(number, commit, manifests, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}")
    metadata = {"name": release.name, "labels": {RELEASE_LABEL: str(number), BEGUN_LABEL: "true"}}
    text = json.dumps(manifests, separators=(",", ":"))
    data = {"commit": commit, "since": release.since, "manifests": text}
    # Created, not applied: of two at the same time one fails. And kubectl would note the content once more in an
    # annotation, which has a limit of 256 KiB.
    if not cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}):
        raise Refused("Another release was begun meanwhile. Nothing was changed.")
    return release


def forget(cluster: Cluster, release: Release) -> None:
    """It has changed nothing, or what it changed is undone. Raises Refused."""
    cluster.delete("configmap", release.name)


def keep(cluster: Cluster, release: Release, before: Sequence[Release]) -> None:
    """The release is out: remove what only releases needed that are not kept. Raises Refused."""
    remove_what_is_gone(cluster, applied(before), release.manifests)
    kept = [one for one in before if one.out][1 - KEPT :]
    for one in before:
        if one not in kept:
            cluster.delete("configmap", one.name)
    _remove_old_settings(cluster, [*kept, release])
    # At the end: if this process is killed before, the release is still under way, and all this is done again.
    cluster.kubectl("label", "configmap", release.name, f"{BEGUN_LABEL}-")


def applied(history: Sequence[Release]) -> list[Manifest]:
    """What may be in the cluster: of the last release that is out, and of those that were killed after it."""
    last = max((place for place, release in enumerate(history) if release.out), default=0)
    return [manifest for release in history[last:] for manifest in release.manifests]


def gone(before: Sequence[Manifest], after: Sequence[Manifest]) -> list[tuple[str, str]]:
    """Kind and name of what `before` has and `after` has not, but for settings and what holds data."""
    stays = {identity(manifest) for manifest in after}
    removable = (one for one in before if one["kind"] not in ("ConfigMap", "PersistentVolumeClaim"))
    return [one for one in dict.fromkeys(map(identity, removable)) if one not in stays]


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
