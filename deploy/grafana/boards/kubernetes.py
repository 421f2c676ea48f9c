"""What the platform says of the pods. Its metrics are those of kube-state-metrics and of cAdvisor."""

from deploy.grafana.panels import Board, Query, Row, Unit, lines, number

OURS = 'container="argosy"'
WITH_SERVICE = '"service", "$1", "pod", "(.+)-[^-]+-[^-]+"'
"""For label_replace: a Deployment's name, from that of its pod."""


def by_service(combine: str, expression: str) -> str:
    """A figure of pods, combined for each service."""
    return f"{combine} by (service) (label_replace({expression}, {WITH_SERVICE}))"


def rate(metric: str) -> str:
    """How fast a counter of our containers grows."""
    return f"rate({metric}{{{OURS}}}[$__rate_interval])"


CPU = by_service("sum", rate("container_cpu_usage_seconds_total"))
MEMORY = f"container_memory_working_set_bytes{{{OURS}}}"
REPLICAS = Row(
    "Pods",
    (
        lines(
            "Replicas",
            Unit.COUNT,
            "Those that are available, and those that are wanted.",
            Query("max by (deployment) (kube_deployment_status_replicas_available{})", "{{deployment}} available"),
            Query("max by (deployment) (kube_deployment_spec_replicas{})", "{{deployment}} wanted"),
        ),
        lines(
            "At the maximum of the autoscaler",
            Unit.SHARE,
            "Replicas of the most that it may make.",
            Query(
                "max by (horizontalpodautoscaler) (kube_horizontalpodautoscaler_status_current_replicas{}"
                " / kube_horizontalpodautoscaler_spec_max_replicas{})",
                "{{horizontalpodautoscaler}}",
            ),
        ),
        lines(
            "Restarts (1 h)",
            Unit.COUNT,
            "Of containers, by pod.",
            Query("sum by (pod) (increase(kube_pod_container_status_restarts_total{}[1h]))", "{{pod}}"),
        ),
        number(
            "Killed for memory",
            Unit.COUNT,
            'sum(kube_pod_container_status_last_terminated_reason{reason="OOMKilled"})',
            "Containers whose last end was that. A limit is too low, or a document too large.",
            alarming_from=1,
            quiet=True,
        ),
        number(
            "Autoscalers without figures",
            Unit.COUNT,
            'sum(kube_horizontalpodautoscaler_status_condition{condition="ScalingActive",status="false"})',
            "They cannot read their metric, so nothing is added or removed.",
            alarming_from=1,
            quiet=True,
        ),
        number(
            "Pods that wait",
            Unit.COUNT,
            'sum(kube_pod_status_phase{phase="Pending"})',
            "For room on a node, or for an image.",
            alarming_from=1,
            quiet=True,
        ),
    ),
)
RESOURCES = Row(
    "Resources, with the children that read documents",
    (
        lines("CPU of pods", Unit.COUNT, "Cores, by service.", Query(CPU, "{{service}}")),
        lines(
            "CPU of what was requested",
            Unit.SHARE,
            "More than 100 % is more than the scheduler reckoned with.",
            Query(
                f"{CPU} / " + by_service("sum", f'kube_pod_container_resource_requests{{{OURS},resource="cpu"}}'),
                "{{service}}",
            ),
        ),
        lines(
            "Held back by CPU limits",
            Unit.SHARE,
            "Periods in which a container had used its limit up.",
            Query(
                by_service("sum", rate("container_cpu_cfs_throttled_periods_total"))
                + " / "
                + by_service("sum", rate("container_cpu_cfs_periods_total")),
                "{{service}}",
            ),
        ),
        lines(
            "Memory of pods",
            Unit.BYTES,
            "The working set, which is what limits are about.",
            Query(by_service("sum", MEMORY), "{{service}}"),
        ),
        lines(
            "Memory of its limit",
            Unit.SHARE,
            "The fullest pod of each service. At 100 % its container is killed.",
            Query(
                by_service(
                    "max",
                    f"{MEMORY} / on (namespace, pod, container) group_left ()"
                    f' kube_pod_container_resource_limits{{{OURS},resource="memory"}}',
                ),
                "{{service}}",
            ),
        ),
    ),
)
KUBERNETES = Board(
    "kubernetes",
    "Argosy: Kubernetes",
    "What does the platform say of the pods? Replicas, restarts, CPU and memory.",
    (REPLICAS, RESOURCES),
)
