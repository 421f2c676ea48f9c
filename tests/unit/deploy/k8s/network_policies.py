"""Says what network policies allow, as the specification of Kubernetes defines it.

What is not understood raises, so that nothing is taken for forbidden only because it was overlooked.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from deploy.k8s.rendering import Manifest

UNDERSTOOD = {
    "policy": {"podSelector", "policyTypes", "ingress", "egress"},
    "rule": {"from", "to", "ports"},
    "peer": {"podSelector", "namespaceSelector", "ipBlock"},
    "port": {"protocol", "port"},
    "selector": {"matchLabels"},
    "block": {"cidr", "except"},
}


@dataclass(frozen=True)
class Place:
    """A pod, or with no namespace something outside of the cluster."""

    name: str
    address: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Way:
    """Traffic that is asked about. `port` is that of the receiver."""

    sender: Place
    receiver: Place
    protocol: str
    port: int

    def __str__(self) -> str:
        return f"{self.sender} → {self.receiver} {self.protocol} {self.port}"


class Policies:
    """All policies of a cluster."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._policies = [
            (one["metadata"]["namespace"], _checked("policy")(one["spec"]))
            for one in manifests
            if one["kind"] == "NetworkPolicy"
        ]
        self._rules: dict[tuple[str, str], list[Mapping[str, Any]] | None] = {}

    def may_leave(self, way: Way) -> bool:
        """Whether the sender's side allows it."""
        return self._allowed(way.sender, way.receiver, "Egress", way)

    def may_enter(self, way: Way) -> bool:
        """Whether the receiver's side allows it."""
        return self._allowed(way.receiver, way.sender, "Ingress", way)

    def _allowed(self, pod: Place, peer: Place, direction: str, way: Way) -> bool:
        """Without a policy for the pod and the direction everything is allowed; else what one of them allows."""
        if (pod.name, direction) not in self._rules:
            self._rules[pod.name, direction] = self._rules_of(pod, direction)
        rules, side = self._rules[pod.name, direction], "to" if direction == "Egress" else "from"
        return rules is None or any(_covers(rule, side, pod, peer, way) for rule in rules)

    def _rules_of(self, pod: Place, direction: str) -> list[Mapping[str, Any]] | None:
        own = [
            policy
            for namespace, policy in self._policies
            if namespace == pod.namespace
            and direction in policy["policyTypes"]
            and _selects(policy["podSelector"], pod.labels)
        ]
        return (
            [_checked("rule")(rule) for policy in own for rule in policy.get(direction.lower(), [])]
            if own
            else None
        )


def _covers(rule: Mapping[str, Any], side: str, pod: Place, peer: Place, way: Way) -> bool:
    peers, ports = rule.get(side), rule.get("ports")
    is_peer = not peers or any(_is_peer(_checked("peer")(one), pod, peer) for one in peers)
    is_port = not ports or any(
        one.get("protocol", "TCP") == way.protocol and one.get("port", way.port) == way.port
        for one in map(_checked("port"), ports)
    )
    return is_peer and is_port


def _is_peer(wanted: Mapping[str, Any], pod: Place, peer: Place) -> bool:
    if "ipBlock" in wanted:
        block = _checked("block")(wanted["ipBlock"])
        address = ip_address(peer.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(one) for one in block.get("except", [])
        )
    if peer.namespace is None:
        return False
    if "namespaceSelector" in wanted:
        name = {"kubernetes.io/metadata.name": peer.namespace}
        if not _selects(wanted["namespaceSelector"], name):
            return False
    elif peer.namespace != pod.namespace:
        return False
    return _selects(wanted.get("podSelector", {}), peer.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted: Mapping[str, str] = _checked("selector")(selector).get("matchLabels", {})
    return wanted.items() <= labels.items()


def _checked(what: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    def check(part: Mapping[str, Any]) -> Mapping[str, Any]:
        assert part.keys() <= UNDERSTOOD[what], f"not understood in a {what}: {part}"
        assert not isinstance(part.get("port", 0), str), "ports are numbers here"
        return part

    return check


def pods_of(manifests: Sequence[Manifest]) -> list[Place]:
    """One pod of each Deployment, StatefulSet and Job."""
    workloads = [one for one in manifests if one["kind"] in ("Deployment", "StatefulSet", "Job")]
    return [
        Place(
            one["metadata"]["name"],
            f"10.244.1.{number}",
            one["metadata"]["namespace"],
            one["spec"]["template"]["metadata"]["labels"],
        )
        for number, one in enumerate(workloads, 1)
    ]
