"""The network policies allow what the table of services declares, and nothing else: every pair is tried."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import product

import pytest

from deploy.k8s.rendering import ENVIRONMENTS, Manifest, overlay
from libs.common.contracts.services import PROBES, SERVICES, Need, ServiceRow
from tests.unit.deploy.k8s.network_policies import Place, Policies, Way, pods_of
from tests.unit.deploy.k8s.planting import changed, without
from tests.unit.deploy.k8s.trees import unchanged

PORTS = (
    22,
    25,
    53,
    80,
    443,
    465,
    587,
    1025,
    2375,
    4222,
    5432,
    6222,
    6379,
    6443,
    8024,
    8080,
    8222,
    8443,
    9100,
    10250,
)
KINDS = [("TCP", port) for port in PORTS] + [("UDP", port) for port in (53, 443, 4222)]
STRANGER = "stranger"
"""A pod that somebody else has started in our namespace."""
WORLD = Place("the world", "203.0.113.7")
OUTSIDE = (
    WORLD,
    Place("a private network", "10.9.8.7"),
    Place("another private network", "172.16.9.9"),
    Place("a home network", "192.168.1.1"),
    Place("the cloud's metadata", "169.254.169.254"),
    Place("a carrier's network", "100.64.1.1"),
)
SERVERS = {"staging": "198.51.100", "production": "192.0.2"}
"""The network of the servers in the overlay's `addresses`."""
FROM = {"http": "ingress-nginx", "lmtp": "mail", "probes": "monitoring"}
"""The namespace that may call a port of that name."""
Allowed = set[tuple[str, str, str, int]]


@cache
def everything(environment: str) -> tuple[Manifest, ...]:
    """All that runs in an environment at once, the servers of components/servers too."""
    parts = [unchanged(overlay(environment)), unchanged(overlay(environment) / "migrations")]
    if environment == "staging":
        parts.append(unchanged(overlay(environment) / "servers"))
    return tuple(manifest for part in parts for manifest in part)


def places(environment: str, manifests: Sequence[Manifest]) -> list[Place]:
    own = f"argosy-{environment}"
    pods = pods_of(manifests)
    known = {pod.name for pod in pods}
    neighbours = [name for name in ("postgres", "redis", "nats", "mail-catcher", STRANGER) if name not in known]
    pods += [Place(name, "10.244.2.1", own, {"app.kubernetes.io/name": name}) for name in neighbours]
    others = ("kube-system", "ingress-nginx", "monitoring", "mail", "keda", "default")
    disguised = {"app.kubernetes.io/name": "postgres", "needs.argosy/redis": "true"}
    pods += [Place(f"a pod in {name}", "10.244.3.1", name, disguised) for name in others]
    numbers = {"postgres": 10, "redis": 20, "nats": 30}
    servers = [Place(f"{kind} elsewhere", f"{SERVERS[environment]}.{at}") for kind, at in numbers.items()]
    return [*pods, *OUTSIDE, *servers]


def allowed(environment: str, manifests: Sequence[Manifest]) -> tuple[Allowed, Allowed]:
    """What may leave our pods, and what may enter them."""
    ours = {STRANGER, *(pod.name for pod in pods_of(manifests))}
    policies, everywhere = Policies(manifests), places(environment, manifests)
    leaving, entering = Allowed(), Allowed()
    for sender, receiver, (protocol, port) in product(everywhere, everywhere, KINDS):
        way = Way(sender, receiver, protocol, port)
        key = (sender.name, receiver.name, protocol, port)
        if sender.name in ours and policies.may_leave(way):
            leaving.add(key)
        if receiver.name in ours and policies.may_enter(way):
            entering.add(key)
    return leaving, entering


def declared(environment: str, services: Sequence[ServiceRow], servers: Sequence[str]) -> tuple[Allowed, Allowed]:
    """The same by the table of services. `servers`: those that run as pods beside ours."""
    leaving, entering = Allowed(), Allowed()

    def calls(name: str, server: str, port: int) -> None:
        leaving.update((name, f"{server}{where}", "TCP", port) for where in ("", " elsewhere"))
        if server in servers:
            entering.add((name, server, "TCP", port))

    for service in services:
        calls(service.name, "postgres", 5432)
        calls(service.name, "nats", 4222)
        if Need.REDIS in service.needs:
            calls(service.name, "redis", 6379)
        world = service.calls_ports
        if environment == "staging" and service.name == "mailer":
            world = frozenset()
            leaving.add(("mailer", "mail-catcher", "TCP", 1025))
        if Need.BLOBS in service.needs:
            world |= {443}
        # The addresses of servers are in the world too.
        outside = [WORLD.name, *(f"{server} elsewhere" for server in ("postgres", "redis", "nats"))]
        leaving.update((service.name, place, "TCP", port) for place in outside for port in world)
        callers = {name: f"a pod in {FROM[name]}" for name in service.ports}
        entering.update((callers[name], service.name, "TCP", port) for name, port in service.ports.items())
    calls("migrations", "postgres", 5432)
    entering.add((f"a pod in {FROM['probes']}", "migrations", "TCP", PROBES))
    leaving.update(names_are_asked([*(service.name for service in services), "migrations", *servers, STRANGER]))
    return leaving, entering


def names_are_asked(names: Iterable[str]) -> Allowed:
    return {(name, "a pod in kube-system", protocol, 53) for name in names for protocol in ("TCP", "UDP")}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_allowed_is_what_is_declared(environment: str) -> None:
    manifests = everything(environment)
    servers = [one["metadata"]["name"] for one in manifests if one["kind"] == "StatefulSet"]
    leaving, entering = allowed(environment, manifests)
    should_leave, should_enter = declared(environment, SERVICES, servers)
    assert leaving
    assert leaving ^ should_leave == set()
    assert entering ^ should_enter == set()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_before_anything_else_is_applied_the_migrations_reach_postgres_only(environment: str) -> None:
    manifests = unchanged(overlay(environment) / "migrations")
    leaving, entering = (
        {way for way in ways if STRANGER not in way} for ways in allowed(environment, manifests)
    )  # nothing confines a stranger yet
    servers = ("postgres", "postgres elsewhere")
    assert leaving == {("migrations", server, "TCP", 5432) for server in servers} | names_are_asked(["migrations"])
    assert entering == set()


EVERYWHERE = {"ipBlock": {"cidr": "0.0.0.0/0"}}
NEEDS_REDIS = "spec/template/metadata/labels/needs.argosy~redis"


@pytest.mark.parametrize(
    "plant",
    [
        lambda all_: without(all_, "NetworkPolicy", "default-deny"),
        lambda all_: without(all_, "NetworkPolicy", "to-redis"),
        lambda all_: without(all_, "NetworkPolicy", "dns"),
        lambda all_: without(all_, "NetworkPolicy", "metrics"),
        lambda all_: changed(all_, "Deployment", "ocr", NEEDS_REDIS, "true"),
        lambda all_: changed(all_, "Deployment", "mailer", NEEDS_REDIS, "false"),
        lambda all_: changed(all_, "NetworkPolicy", "to-blobs", "spec/egress/0/to/0", EVERYWHERE),
        lambda all_: changed(all_, "NetworkPolicy", "to-nats", "spec/egress/0/to/1", EVERYWHERE),
        lambda all_: changed(all_, "NetworkPolicy", "to-postgres", "spec/egress/0/ports", []),
        lambda all_: changed(all_, "NetworkPolicy", "gateway", "spec/ingress/0/from/0", {"namespaceSelector": {}}),
        lambda all_: changed(all_, "NetworkPolicy", "mailer", "spec/egress/0/ports/3", {"port": 80}),
    ],
    ids=[
        *("no-default", "no-redis", "no-dns", "no-metrics", "ocr-to-redis", "mailer-without-redis"),
        *("private-blobs", "any-nats", "all-ports", "anybody-calls", "one-port-more"),
    ],
)
def test_one_way_more_or_less_is_noticed(plant: Callable[[Sequence[Manifest]], list[Manifest]]) -> None:
    found = allowed("production", plant(everything("production")))
    assert found != declared("production", SERVICES, [])


def test_of_a_rule_that_is_not_understood_nothing_is_believed() -> None:
    strange = changed(
        everything("production"), "NetworkPolicy", "gateway", "spec/ingress/0/from/0", {"serviceSelector": {}}
    )
    with pytest.raises(AssertionError, match="not understood"):
        allowed("production", strange)
