"""What a process tells of itself while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from libs.common import metrics
from libs.common.config import TelemetrySettings

VERSION = "0.1.0"
"""The release that this code belongs to, or precedes."""


@contextmanager
def running(settings: TelemetrySettings) -> Iterator[None]:
    """Tell Prometheus what runs, while the block does."""
    metrics.build_info.labels(VERSION, settings.argosy_version).set(1)
    yield
