"""Figures of pods are added up by service, beside what was requested and allowed."""

from pathlib import Path

from deploy.grafana.boards.kubernetes import KUBERNETES
from tests.panel_values import assert_shows

PODS = ("ocr-6d5f7c9b8-abcde", "ocr-6d5f7c9b8-fghij", "gateway-74c9-k2x4z")


def of_pods(name: str, *values: str, labels: str = "") -> dict[str, str]:
    return {
        f'{name}{{pod="{pod}",container="argosy"{labels}}}': value for pod, value in zip(PODS, values, strict=True)
    }


def test_cpu_is_compared_with_what_was_requested(tmp_path: Path) -> None:
    used = of_pods("container_cpu_usage_seconds_total", "0+15x80", "0+30x80", "0+3x80")
    requests = of_pods("kube_pod_container_resource_requests", "1x80", "2x80", "0.5x80", labels=',resource="cpu"')
    # The pod itself has a series too, and another resource is no CPU.
    used |= {f'container_cpu_usage_seconds_total{{pod="{PODS[0]}",container="POD"}}': "0+900x80"}
    requests |= {
        f'kube_pod_container_resource_requests{{pod="{PODS[0]}",container="argosy",resource="memory"}}': "1e9x80"
    }
    assert_shows(tmp_path, KUBERNETES, "CPU of pods", used, {'{service="ocr"}': 3, '{service="gateway"}': 0.2})
    share = {'{service="ocr"}': 1, '{service="gateway"}': 0.4}
    assert_shows(tmp_path, KUBERNETES, "CPU of what was requested", used | requests, share)


def test_the_fullest_pod_counts(tmp_path: Path) -> None:
    memory = of_pods("container_memory_working_set_bytes", "500x80", "900x80", "100x80")
    limits = of_pods(
        "kube_pod_container_resource_limits", "1000x80", "1000x80", "1000x80", labels=',resource="memory"'
    )
    share = {'{service="ocr"}': 0.9, '{service="gateway"}': 0.1}
    assert_shows(tmp_path, KUBERNETES, "Memory of its limit", memory | limits, share)


def test_periods_without_cpu_are_a_share(tmp_path: Path) -> None:
    periods = of_pods("container_cpu_cfs_periods_total", "0+150x80", "0+150x80", "0+150x80")
    without = of_pods("container_cpu_cfs_throttled_periods_total", "0+15x80", "0+45x80", "0x80")
    share = {'{service="ocr"}': 0.2, '{service="gateway"}': 0}
    assert_shows(tmp_path, KUBERNETES, "Held back by CPU limits", periods | without, share)


def test_nothing_was_killed(tmp_path: Path) -> None:
    assert_shows(tmp_path, KUBERNETES, "Killed for memory", {}, {"{}": 0})
    killed = {'kube_pod_container_status_last_terminated_reason{pod="ocr-1",reason="OOMKilled"}': "1x80"}
    assert_shows(tmp_path, KUBERNETES, "Killed for memory", killed, {"{}": 1})


def test_an_autoscaler_at_its_maximum(tmp_path: Path) -> None:
    scaled = {
        'kube_horizontalpodautoscaler_status_current_replicas{horizontalpodautoscaler="ocr"}': "6x80",
        'kube_horizontalpodautoscaler_spec_max_replicas{horizontalpodautoscaler="ocr"}': "8x80",
    }
    title = "At the maximum of the autoscaler"
    assert_shows(tmp_path, KUBERNETES, title, scaled, {'{horizontalpodautoscaler="ocr"}': 0.75})
