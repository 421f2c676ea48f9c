"""What a process tells of itself while it runs: what it is; its bugs, to a server of errors; its work, to a
collector of traces."""

import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from libs.common import metrics, reporting, tracing
from libs.common.config import TelemetrySettings, secrets_of, without_secrets
from libs.common.errors import Misconfigured

VERSION = "0.1.0"
"""The release that this code belongs to, or precedes."""
STOPS_WITHIN_S = 1.0
"""How long the end of a process waits for the servers that it tells of itself; part of config.STOPPING_TAKES_S."""


@contextmanager
def running(settings: TelemetrySettings, service: str) -> Iterator[None]:
    """Tell of the process while the block runs, and of the error that ends it.

    Raises Misconfigured if a setting cannot be used.
    """
    metrics.build_info.labels(VERSION, settings.argosy_version).set(1)
    secrets = secrets_of(settings)
    with without_secrets():  # libraries would read variables of their own, and all settings are in ours
        if settings.errors_dsn is not None:
            _report_errors(settings, service, settings.errors_dsn.get_secret_value(), secrets)
        if settings.tracing_url is not None:
            _trace(settings, service, settings.tracing_url)
    try:
        yield
    except Exception as error:
        reporting.report(error, event="process.died", part="telemetry", facts={})
        raise
    finally:
        stop()


def _report_errors(settings: TelemetrySettings, service: str, dsn: str, secrets: set[str]) -> None:
    sentry = importlib.import_module("libs.common.sentry")  # it takes 20 MB, so only where it is wanted
    try:
        sender = sentry.Sentry(
            dsn,
            release=settings.argosy_version,
            environment=settings.gateway_env,
            service=service,
            secrets=secrets,
        )
    except ValueError:
        raise Misconfigured("ERRORS_DSN cannot be read.") from None
    reporting.start(sender)


def _trace(settings: TelemetrySettings, service: str, url: str) -> None:
    otlp = importlib.import_module("libs.common.otlp")  # 15 MB
    release, environment = settings.argosy_version, settings.gateway_env
    exporter = otlp.Otlp(url, release=release, environment=environment, service=service)
    tracing.start(exporter, settings.tracing_share)


def stop() -> None:
    """Tell nobody from now on. It takes STOPS_WITHIN_S at most."""
    ends_at = time.monotonic() + STOPS_WITHIN_S
    tracing.stop(STOPS_WITHIN_S / 2)
    reporting.stop(max(0.0, ends_at - time.monotonic()))
