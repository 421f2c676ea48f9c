"""Migrations, apply, waiting for the pods, and undoing what does not come up."""

import time
from collections.abc import Sequence

from deploy.k8s.rendering import Manifest
from deploy.release.checks import WORKLOADS
from deploy.release.cluster import Cluster, Refused, identity
from deploy.release.history import Release, applied, forget, keep, remove_what_is_gone

MIGRATED_WITHIN_S = 900.0


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


def bring_out(cluster: Cluster, release: Release, before: Sequence[Release], *, within_s: float) -> None:
    """Apply its manifests and wait. If they do not come up, apply those of the last release. Raises Refused."""
    try:
        print(cluster.apply(release.manifests), end="", flush=True)
        wait_until_out(cluster, release.manifests, within_s=within_s)
    except Refused as error:
        last = _undo(cluster, release, before, str(error), within_s=within_s)
        raise Refused(f"The release failed and was undone: release {last.number} is out again.") from error
    keep(cluster, release, before)


def _undo(cluster: Cluster, release: Release, before: Sequence[Release], why: str, *, within_s: float) -> Release:
    """Bring out the last good release again, and return it. Raises Refused if there is none, or it fails too."""
    last = next((one for one in reversed(before) if one.out), None)
    if last is None:
        forget(cluster, release)
        raise Refused(f"{why}\nThere is no release before it to go back to.")
    print(f"{why}\nGoing back to release {last.number} …", flush=True)
    cluster.apply(last.manifests)
    remove_what_is_gone(cluster, [*applied(before), *release.manifests], last.manifests)
    wait_until_out(cluster, last.manifests, within_s=within_s)
    for one in (*before, release):
        if not one.out:
            forget(cluster, one)
    return last


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
