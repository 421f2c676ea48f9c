"""The times that depend on each other: in the code, in settings, in the manifests and around them.

`python -m deploy.times staging` prints them as a table, and fails if a rule is broken. Every value is read from
where it is in force; the rules are here.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deploy.k8s.rendering import (
    ENVIRONMENTS,
    Manifest,
    container_of,
    environment_of,
    find,
    names_of,
    overlay,
    pod_of,
    render,
)
from deploy.local.table import table
from libs.common import config, probes
from libs.common.bus import streams
from libs.common.ledger import claim
from services.gateway.endpoints import health, job_events, submission
from services.gateway.engine import dispatcher
from services.gateway.identity import authentication

LONGEST = {"ocr": "OCR_PAGE_TIMEOUT_S", "mailer": "MAIL_TIMEOUT_S"}
"""The setting that says how long the longest step of a worker may take. It should end within SHUTDOWN_GRACE_S."""
DRAINED_WITHIN_S = 600.0
"""How long the cluster's autoscaler waits for a pod to stop before it removes the node."""
RESERVED_CONNECTIONS = 10
"""To PostgreSQL: for migrations, backups and people."""
INGRESS = "nginx.ingress.kubernetes.io/proxy-"


@dataclass(frozen=True, slots=True)
class Link:
    """A value in the chain, in seconds unless its name says otherwise, and what must hold for it."""

    name: str
    value: float
    where: str
    must: str = ""
    holds: bool = True


def chain(manifests: Sequence[Manifest]) -> list[Link]:
    """All links, as they are in the code and in the rendered `manifests` of an environment."""
    links = [*_requests(manifests), *_leases()]
    for name in names_of(manifests, "Deployment"):
        links += _stop(manifests, name)
        links += _probes(find(manifests, "Deployment", name))
    return [*links, _connections(manifests)]


def broken(links: Sequence[Link]) -> list[str]:
    """The rules that do not hold."""
    return [f"{link.name} is {link.value:g} ({link.where}): {link.must}" for link in links if not link.holds]


def _requests(manifests: Sequence[Manifest]) -> Iterator[Link]:
    """From the ingress to the gateway."""
    gateway = find(manifests, "Deployment", "gateway")
    settings, around = environment_of(manifests, gateway), _surroundings(manifests)
    drain_s, keep_alive_s = float(settings["GATEWAY_DRAIN_S"]), float(settings["GATEWAY_KEEP_ALIVE_S"])
    removed_s, kept_s = around["endpoint-removed-within-s"], around["ingress-keep-alive-s"]
    read_s = float(find(manifests, "Ingress", "gateway")["metadata"]["annotations"][f"{INGRESS}read-timeout"])
    wait_s, comment_s, accept_s = submission.WAIT_AT_MOST_S, job_events.KEEP_ALIVE_S, dispatcher.ACCEPT_PATIENCE_S
    yield Link("endpoint removed after SIGTERM", removed_s, "the cluster, annotation of the namespace")
    yield Link(
        "GATEWAY_DRAIN_S",
        drain_s,
        "gateway settings",
        "at least until the endpoint is removed",
        drain_s >= removed_s,
    )
    yield Link("ingress keeps an idle connection", kept_s, "the ingress, annotation of the namespace")
    yield Link(
        "GATEWAY_KEEP_ALIVE_S", keep_alive_s, "gateway settings", "more than the ingress's", keep_alive_s > kept_s
    )
    yield Link("Prefer: wait", wait_s, "endpoints/submission.py", "ends at once on drain")
    yield Link("event streams send something every", comment_s, "endpoints/job_events.py", "end at once on drain")
    yield Link("an accept waits for PostgreSQL", accept_s, "engine/dispatcher.py", "then it is a 503")
    yield Link(
        "ingress read timeout",
        read_s,
        "Ingress",
        "more than Prefer: wait with an accept, and than an event stream is silent",
        read_s > max(wait_s + accept_s, comment_s),
    )
    yield Link(
        "keys are believed for",
        authentication.CACHED_FOR_S,
        "identity/authentication.py",
        "less than the second after which a revoked key opens nothing",
        authentication.CACHED_FOR_S < 1,
    )
    yield Link(
        "not ready on the public port after",
        health.DISPATCHED_WITHIN_S,
        "endpoints/health.py",
        "more than several rounds of a dispatcher that finds a server away",
        health.DISPATCHED_WITHIN_S >= 5 * dispatcher.DOWN_ROUND_S,
    )


def _leases() -> Iterator[Link]:
    """How long a job is lost with its worker, or with its ticket."""
    heartbeat_s = claim.HEARTBEAT_EVERY_S + claim.HEARTBEAT_WITHIN_S
    back_s = claim.LEASE_S + claim.HEARTBEAT_EVERY_S + dispatcher.REPAIR_EVERY_S
    yield Link("heartbeat and its answer", heartbeat_s, "ledger/claim.py")
    yield Link(
        "lease", claim.LEASE_S, "ledger/claim.py", "longer than two heartbeats", 2 * heartbeat_s < claim.LEASE_S
    )
    yield Link(
        "killed worker's job is queued again", back_s, "lease, heartbeat, repair", "at most 26", back_s <= 26
    )
    yield Link(
        "a lost ticket is sent again after",
        dispatcher.LOST_AFTER_S,
        "engine/dispatcher.py",
        "less than a ticket lives",
        dispatcher.LOST_AFTER_S < streams.TICKET_LIFE_S,
    )
    yield Link("a ticket lives", streams.TICKET_LIFE_S, "bus/streams.py")
    yield Link(
        "a stuck process fails /livez after",
        probes.WEDGED_AFTER_S,
        "probes.py",
        "longer than a lease: its jobs run elsewhere by then",
        probes.WEDGED_AFTER_S > claim.LEASE_S,
    )


def _stop(manifests: Sequence[Manifest], name: str) -> Iterator[Link]:
    """From SIGTERM to SIGKILL."""
    workload = find(manifests, "Deployment", name)
    settings = environment_of(manifests, workload)
    drain_s, grace_s = float(settings.get("GATEWAY_DRAIN_S", 0)), float(settings["SHUTDOWN_GRACE_S"])
    promised_s, given_s = float(settings["TERMINATION_GRACE_S"]), pod_of(workload)["terminationGracePeriodSeconds"]
    longest_s = float(settings[LONGEST[name]]) if name in LONGEST else 0.0
    stop_s = drain_s + grace_s + config.STOPPING_TAKES_S
    yield Link(
        f"{name} SHUTDOWN_GRACE_S",
        grace_s,
        f"{name} settings",
        f"at least {LONGEST[name]}" if name in LONGEST else "",
        grace_s >= longest_s,
    )
    yield Link(f"{name} stops within", stop_s, "drain + grace + what stopping takes")
    yield Link(
        f"{name} TERMINATION_GRACE_S", promised_s, f"{name} settings", "at least the stop", promised_s >= stop_s
    )
    yield Link(
        f"{name} terminationGracePeriodSeconds",
        given_s,
        "Deployment",
        f"TERMINATION_GRACE_S, and at most {DRAINED_WITHIN_S:g}",
        given_s == promised_s <= DRAINED_WITHIN_S,
    )


def _probes(workload: Manifest) -> Iterator[Link]:
    name, container = workload["metadata"]["name"], container_of(workload)
    startup, liveness, readiness = (container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness"))
    started_s, alive_s, ready_s = (
        probe["periodSeconds"] * probe["failureThreshold"] for probe in (startup, liveness, readiness)
    )
    deadline_s, exits_s = workload["spec"]["progressDeadlineSeconds"], 2 * probes.WEDGED_AFTER_S
    yield Link(
        f"{name} startup probe",
        started_s,
        "Deployment",
        "less than the rollout's deadline",
        started_s < deadline_s,
    )
    yield Link(f"{name} progressDeadlineSeconds", deadline_s, "Deployment")
    yield Link(
        f"{name} liveness probe",
        alive_s,
        "Deployment",
        f"restarts a stuck process no later than it exits by itself ({exits_s:g})",
        probes.WEDGED_AFTER_S + alive_s <= exits_s,
    )
    yield Link(
        f"{name} grace of the liveness probe",
        liveness["terminationGracePeriodSeconds"],
        "Deployment",
        "less than the pod's: a stuck loop hears no SIGTERM",
        liveness["terminationGracePeriodSeconds"] < pod_of(workload)["terminationGracePeriodSeconds"],
    )
    yield Link(
        f"{name} readiness probe", ready_s, "Deployment", "at most 3, and longer than one answer", 1 < ready_s <= 3
    )


def _connections(manifests: Sequence[Manifest]) -> Link:
    """All processes that may run at once, during a rollout too."""
    most = RESERVED_CONNECTIONS
    for name in names_of(manifests, "Deployment"):
        workload = find(manifests, "Deployment", name)
        processes = _most_replicas(manifests, name) + workload["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
        most += int(environment_of(manifests, workload)["DB_MAX_CONNECTIONS"]) * processes
    allowed = _surroundings(manifests)["postgres-max-connections"]
    must = f"at most PostgreSQL's max_connections, {allowed:g}"
    return Link("connections to PostgreSQL", most, "pools × most processes", must, most <= allowed)


def _most_replicas(manifests: Sequence[Manifest], name: str) -> int:
    """Of a Deployment; with the component keda its ScaledObject says so."""
    kind, key = ("HorizontalPodAutoscaler", "maxReplicas")
    if name not in names_of(manifests, kind):
        kind, key = ("ScaledObject", "maxReplicaCount")
    return int(find(manifests, kind, name)["spec"][key])


def _surroundings(manifests: Sequence[Manifest]) -> Mapping[str, float]:
    """What the annotations `argosy/…` of the namespace say of the servers around the fleet."""
    (namespace,) = (manifest for manifest in manifests if manifest["kind"] == "Namespace")
    annotations: Mapping[str, str] = namespace["metadata"]["annotations"]
    return {
        name.removeprefix("argosy/"): float(value)
        for name, value in annotations.items()
        if name.startswith("argosy/")
    }


def main() -> None:
    """Print the chain of an environment. Exits with 1 if a rule is broken."""
    (environment,) = sys.argv[1:] or ("production",)
    if environment not in ENVIRONMENTS:
        sys.exit(f"There are {' and '.join(ENVIRONMENTS)}.")
    links = chain(render(overlay(environment)))
    rows = [(link.name, f"{link.value:g}", link.where, link.must) for link in links]
    print(table(("TIME", "SECONDS", "WHERE", "MUST BE"), rows))
    if mistakes := broken(links):
        sys.exit("\n".join(("Broken:", *mistakes)))


if __name__ == "__main__":
    main()
