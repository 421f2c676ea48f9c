"""Migrations, apply, waiting for the pods, and undoing what does not come up."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from deploy.k8s.rendering import Manifest
from deploy.release.checks import WORKLOADS
from deploy.release.cluster import Cluster, Refused, identity
from deploy.release.history import Release, keep, releases, remove_what_is_gone

LOCK = "argosy-release-lock"
MIGRATED_WITHIN_S = 900.0


@contextmanager
def locked(cluster: Cluster, commit: str) -> Iterator[None]:
    """Nobody else releases into the namespace while the block runs. Raises Refused."""
    since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    metadata = {"name": LOCK}
    data = {"since": since, "commit": commit}
    if not cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}):
        held = (cluster.get("configmap", LOCK) or {}).get("data", data)
        raise Refused(
            f"Another release, of {held['commit'][:12]}, is under way since {held['since']}. If it was killed:"
            f" kubectl -n {cluster.namespace} delete configmap {LOCK}"
        )
    try:
        yield
    finally:
        cluster.delete("configmap", LOCK)


def migrate(cluster: Cluster, manifests: Sequence[Manifest], *, within_s: float = MIGRATED_WITHIN_S) -> None:
    """Run the migrations to their end, as a Job. A Job cannot be changed, so it is made anew. Raises Refused."""
    (job,) = (identity(manifest) for manifest in manifests if manifest["kind"] == "Job")
    there = cluster.get(*job)
    if there is not None and there.get("status", {}).get("active"):
        raise Refused("The migrations of another release are still running.")
    cluster.delete(*job)
    cluster.apply(manifests)
    deadline = time.monotonic() + within_s
    while (end := _end_of_job(cluster.get(*job))) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    if end != "Complete":
        raise Refused(
            f"The migrations {'failed' if end else 'took too long'}. The pods are as they were.\n"
            + _log_of(cluster, *job)
        )


def _end_of_job(job: Manifest | None) -> str | None:
    """Complete, Failed, or None while it runs."""
    conditions = (job or {}).get("status", {}).get("conditions", ())
    ends = (one["type"] for one in conditions if one["status"] == "True")
    return next((end for end in ends if end in ("Complete", "Failed")), None)


def _log_of(cluster: Cluster, kind: str, name: str) -> str:
    try:
        return cluster.kubectl("logs", f"{kind}/{name}", "--tail=30").strip()
    except Refused as error:
        return f"Its log could not be read: {error}"


def bring_out(cluster: Cluster, commit: str, manifests: list[Manifest], *, within_s: float) -> Release:
    """Apply `manifests` and wait. If they do not come up, apply the last release again. Raises Refused."""
    history = releases(cluster)
    last = history[-1] if history else None
    print(cluster.apply(manifests), end="", flush=True)
    try:
        wait_until_out(cluster, manifests, within_s=within_s)
    except Refused as error:
        if last is None:
            raise Refused(f"{error}\nThere is no release before it to go back to.") from error
        print(f"{error}\nGoing back to release {last.number} …", flush=True)
        cluster.apply(last.manifests)
        remove_what_is_gone(cluster, manifests, last.manifests)
        wait_until_out(cluster, last.manifests, within_s=within_s)
        raise Refused(f"The release failed and was undone: release {last.number} is out again.") from error
    release = Release(last.number + 1 if last else 1, commit, manifests)
    keep(cluster, release, history)
    return release


def wait_until_out(cluster: Cluster, manifests: Sequence[Manifest], *, within_s: float) -> None:
    """Wait until all workloads run as `manifests` say. Raises Refused with what their pods wait for."""
    deadline = time.monotonic() + within_s
    for kind, name in (identity(one) for one in manifests if one["kind"] in WORKLOADS):
        left_s = max(1, int(deadline - time.monotonic()))
        try:
            cluster.kubectl("rollout", "status", f"{kind}/{name}", f"--timeout={left_s}s")
        except Refused as error:
            raise Refused(f"{name} does not come up. {error}\n{_troubles(cluster)}".strip()) from error


def _troubles(cluster: Cluster) -> str:
    """A line for each container that does not run, with the reason."""
    lines = []
    for pod in cluster.list("pods"):
        for status in pod.get("status", {}).get("containerStatuses", ()):
            state = status["state"].get("waiting") or status["state"].get("terminated")
            if state:
                reason = f"{state.get('reason', '')} {state.get('message', '')}".strip()
                lines.append(f"{pod['metadata']['name']}: {reason}")
    return "\n".join(sorted(lines))
