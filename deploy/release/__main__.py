"""The command line, and the two actions from beginning to end."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.k8s.rendering import ENVIRONMENTS, CannotRender, Manifest, overlay, render
from deploy.release.checks import check_images, check_namespace, clean_commit, confirm, stamp_secrets
from deploy.release.cluster import Cluster, Refused
from deploy.release.history import Release, applied, begin, forget, gone, releases
from deploy.release.rollout import bring_out, migrate, wait_until_out

OUT_WITHIN_S = 600.0


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    environment: str
    context: str | None
    first: bool
    yes: bool
    killed: bool
    to: int | None
    within_s: float


def deploy(options: Options) -> str:
    """Bring the environment to this commit. Returns what was done. Raises Refused, CannotRender."""
    commit = clean_commit()
    manifests = render(overlay(options.environment))
    migrations = render(overlay(options.environment) / "migrations")
    check_images([*manifests, *migrations])
    cluster = _cluster_of(manifests, options)
    stamp_secrets(cluster, [*manifests, *migrations])
    before = releases(cluster, killed=options.killed)
    difference = _difference(cluster, before, manifests)
    if not difference and before and before[-1].out and before[-1].manifests == manifests:
        wait_until_out(cluster, manifests, within_s=options.within_s)
        return f"{cluster.namespace} is at this release already. Nothing was changed."
    print(difference, flush=True)
    confirm(options.environment, yes=options.yes)
    release = begin(cluster, commit, manifests, before)
    try:
        print("Running the migrations …", flush=True)
        migrate(cluster, migrations)
    except Refused:
        forget(cluster, release)
        raise
    bring_out(cluster, release, before, within_s=options.within_s)
    return f"{cluster.namespace} has release {release.number}, commit {commit[:12]}."


def rollback(options: Options) -> str:
    """Bring out an earlier release again, as a new one. Migrations stay. Raises Refused, CannotRender."""
    cluster = _cluster_of(render(overlay(options.environment)), options)
    before = releases(cluster, killed=options.killed)
    earlier = [release for release in before if release.out and release is not before[-1]]
    wanted = [release for release in earlier if options.to in (None, release.number)]
    if not wanted:
        kept = ", ".join(str(release.number) for release in earlier) or "none"
        raise Refused(f"There is no such earlier release. Kept before the present one: {kept}.")
    target = wanted[-1]
    stamp_secrets(cluster, target.manifests)
    print(_difference(cluster, before, target.manifests), flush=True)
    confirm(options.environment, yes=options.yes)
    release = begin(cluster, target.commit, target.manifests, before)
    bring_out(cluster, release, before, within_s=options.within_s)
    return f"{cluster.namespace} has release {target.number} again, as release {release.number}."


def _difference(cluster: Cluster, before: Sequence[Release], manifests: list[Manifest]) -> str:
    """What a release of `manifests` would change, and delete; empty if nothing."""
    deleted = gone(applied(before), manifests)
    return cluster.difference(manifests) + "".join(f"deleted: {kind} {name}\n" for kind, name in deleted)


def _cluster_of(manifests: list[Manifest], options: Options) -> Cluster:
    (namespace,) = (manifest for manifest in manifests if manifest["kind"] == "Namespace")
    cluster = Cluster(namespace["metadata"]["name"], options.context)
    check_namespace(cluster, namespace, first=options.first)
    return cluster


def main() -> None:
    """Parse the command line. What cannot be done is said on standard error, with exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m deploy.release")
    parser.add_argument("action", choices=("deploy", "rollback"))
    parser.add_argument("environment", choices=ENVIRONMENTS)
    parser.add_argument("--context", help="kubectl's context; by default the current one")
    parser.add_argument("--first", action="store_true", help="the environment is not in this cluster yet")
    parser.add_argument("--yes", action="store_true", help="do not ask before production is changed")
    parser.add_argument("--killed", action="store_true", help="nobody runs the release that is under way any more")
    parser.add_argument("--to", type=int, help="the release to go back to; by default the one before")
    parser.add_argument("--within", dest="within_s", type=float, default=OUT_WITHIN_S, metavar="SECONDS")
    given = vars(parser.parse_args())
    act = deploy if given.pop("action") == "deploy" else rollback
    try:
        print(act(Options(**given)))
    except (Refused, CannotRender) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(
            "Interrupted. If a release had begun, KILLED=1 lets the next deploy or rollback go on from there."
        )


if __name__ == "__main__":
    main()
