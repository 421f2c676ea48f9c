"""Kubernetes' horizontal autoscaler on a clock of the test's own, for a metric outside of the cluster.

After https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details and
pkg/controller/podautoscaler of Kubernetes. KEDA makes such an autoscaler of its ScaledObject and answers it.
"""

import math
from typing import Any

from deploy.k8s.rendering import Manifest

SYNC_EVERY_S = 15
TOLERANCE = 0.1


class Autoscaler:
    """Follows a metric that is shared by all pods (`AverageValue`). It begins with the fewest pods."""

    def __init__(self, least: int, most: int, target: float, behavior: Manifest) -> None:
        self.replicas = least
        self._least, self._most, self._target = least, most, target
        self._up, self._down = behavior["scaleUp"], behavior["scaleDown"]
        self._recommended: list[tuple[float, int]] = []
        self._changes: list[tuple[float, int]] = []

    def sync(self, now: float, value: float | None) -> int:
        """The replicas from now on. Without a value they stay as they are."""
        if value is not None:
            wanted = self._limited(now, self._stabilized(now, self._needed(value)))
            if wanted != self.replicas:
                self._changes.append((now, wanted - self.replicas))
            self.replicas = wanted
        return self.replicas

    def _needed(self, value: float) -> int:
        ratio = value / (self._target * self.replicas)
        return self.replicas if abs(1 - ratio) <= TOLERANCE else math.ceil(value / self._target)

    def _stabilized(self, now: float, needed: int) -> int:
        """Up only as far as was needed all through the window, down only as far as sufficed all through it."""
        self._recommended.append((now, needed))
        highest, lowest = (
            [one for at, one in self._recommended if at == now or now - at < rules["stabilizationWindowSeconds"]]
            for rules in (self._up, self._down)
        )
        return min(max(self.replicas, min(highest)), max(lowest))

    def _limited(self, now: float, wanted: int) -> int:
        """Of several policies the one that allows the greatest change counts."""
        if wanted > self.replicas:
            most = max(self._after(now, policy, 1) for policy in self._up["policies"])
            return min(wanted, max(self.replicas, most), self._most)
        least = min(self._after(now, policy, -1) for policy in self._down["policies"])
        return max(wanted, min(self.replicas, least), self._least)

    def _after(self, now: float, policy: Manifest, sign: int) -> int:
        changed = sum(change for at, change in self._changes if now - at < policy["periodSeconds"])
        before, value = self.replicas - changed, int(policy["value"])
        if policy["type"] == "Pods":
            return before + sign * value
        after = before * (100 + sign * value) / 100
        return math.ceil(after) if sign > 0 else math.floor(after)


def of_autoscaler(manifest: Manifest) -> Autoscaler:
    """That of a HorizontalPodAutoscaler with one external metric."""
    spec, (metric,) = manifest["spec"], manifest["spec"]["metrics"]
    target = metric["external"]["target"]
    assert (metric["type"], target["type"]) == ("External", "AverageValue")
    return Autoscaler(spec["minReplicas"], spec["maxReplicas"], float(target["averageValue"]), spec["behavior"])


def of_scaled_object(manifest: Manifest) -> Autoscaler:
    """The one that KEDA makes of a ScaledObject. Without a fallback it hands errors on."""
    spec, (trigger,) = manifest["spec"], manifest["spec"]["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("metrics-api", "AverageValue")
    assert "fallback" not in spec
    behavior: Any = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    target = float(trigger["metadata"]["targetValue"])
    return Autoscaler(spec["minReplicaCount"], spec["maxReplicaCount"], target, behavior)
