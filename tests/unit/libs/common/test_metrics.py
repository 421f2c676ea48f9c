"""Metrics as Prometheus scrapes them."""

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from libs.common import metrics

DECLARED = {name: metric for name, metric in vars(metrics).items() if isinstance(metric, MetricWrapperBase)}
FEW = {"queue", "outcome", "reason", "state", "method", "route", "status", "urgency", "mode", "policy", "decision",
       "kind", "source", "part", "relay", "step", "code", "operation", "error",
       "order", "dataset", "format", "how", "version", "commit", "result", "server"}  # fmt: skip
"""Labels that have few values. Each value is a time series of its own, so no tenant, job or address is one."""


@pytest.mark.parametrize("metric", DECLARED.values(), ids=DECLARED)
def test_each_is_named_and_explained(metric: MetricWrapperBase) -> None:
    assert metric._name.startswith("argosy_")
    assert metric._documentation.endswith(".")
    assert set(metric._labelnames) <= FEW


@pytest.mark.parametrize("name", [name for name, metric in DECLARED.items() if isinstance(metric, Histogram)])
def test_durations_are_in_seconds_sizes_are_numbers_and_their_buckets_ascend(name: str) -> None:
    metric = DECLARED[name]
    bounds = metric._kwargs["buckets"]
    assert metric._name.endswith(("_seconds", "_size"))
    assert list(bounds) == sorted(set(bounds))
    assert bounds[-1] >= 60


def test_all_of_them_are_on_the_page_that_is_scraped() -> None:
    families = {
        family.name: family for family in text_string_to_metric_families(generate_latest(REGISTRY).decode())
    }
    kinds = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
    for metric in DECLARED.values():
        assert families[metric._name].type == kinds[type(metric)]
        assert families[metric._name].documentation == metric._documentation


def test_a_counter_is_there_before_its_first_event() -> None:
    counter = Counter("argosy_of_this_test", "Nothing.", ["queue", "reason"])
    try:
        metrics.show_from_the_start(counter, reason=("age", "bytes"), queue=["ocr", "mailer"])
        samples = [one for one in next(iter(counter.collect())).samples if one.name.endswith("_total")]
        assert {(one.labels["queue"], one.labels["reason"], one.value) for one in samples} == {
            ("ocr", "age", 0), ("ocr", "bytes", 0), ("mailer", "age", 0), ("mailer", "bytes", 0),
        }  # fmt: skip
    finally:
        REGISTRY.unregister(counter)
