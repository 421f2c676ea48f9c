"""Exports spans to a collector by OTLP: protobuf over HTTP. The only importer of OpenTelemetry, and loaded only if
TRACING_URL is set.

Spans come here when they have ended, so the SDK's tracers and contexts are not needed. Its thread begins with the
first span, when the process has started all that it starts.
"""

import logging
import socket
import threading
from collections.abc import Sequence

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from libs.common import metrics
from libs.common.tracing import Place, Span

WAITING_AT_MOST = 2_048
"""Spans that wait for the collector. More are dropped."""
SENT_AT_ONCE = 512
SENT_EVERY_S = 1.0
ANSWERS_WITHIN_S = 2.0
"""How long the collector may take to answer, with all repeats."""
REASONS = ("full", "refused")

_SCOPE = InstrumentationScope("argosy")


class Otlp:
    """Exports spans to the collector at `url`, such as http://collector:4318."""

    def __init__(self, url: str, *, release: str, environment: str, service: str) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what is dropped is counted
        metrics.show_from_the_start(metrics.spans_dropped, reason=REASONS)
        session = requests.Session()
        session.trust_env = False
        self._sending = _Sending(
            OTLPSpanExporter(
                endpoint=f"{url.rstrip('/')}/v1/traces",
                timeout=ANSWERS_WITHIN_S,
                compression=Compression.Gzip,
                headers={},
                session=session,
            )
        )
        self._resource = Resource(
            {
                "service.name": service,
                "service.version": release,
                "deployment.environment.name": environment,
                "host.name": socket.gethostname(),
            }
        )
        self._processor: BatchSpanProcessor | None = None
        self._added = 0

    def add(self, span: Span) -> None:
        """Send `span` from another thread, or drop it if the collector is too slow."""
        if self._added - self._sending.taken >= WAITING_AT_MOST:
            metrics.spans_dropped.labels("full").inc()
            return
        self._added += 1
        if self._processor is None:
            self._processor = BatchSpanProcessor(
                self._sending, WAITING_AT_MOST, SENT_EVERY_S * 1000, SENT_AT_ONCE, ANSWERS_WITHIN_S * 1000
            )
        self._processor.on_end(self._readable(span))

    def close(self, within_s: float) -> None:
        """Wait for the collector, for `within_s` seconds at most."""
        if self._processor is not None:  # the SDK would wait for 30 s
            end = threading.Thread(target=self._processor.shutdown, name="spans", daemon=True)
            end.start()
            end.join(within_s)
            if end.is_alive():
                self._sending.give_up()

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            _context(span.place),
            None if span.parent_id is None else _context(Place(span.place.trace_id, span.parent_id)),
            self._resource,
            {_attribute(name): value for name, value in span.attributes.items()},
            links=[Link(_context(place)) for place in span.links],
            kind=SpanKind(span.kind),
            status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
            start_time=span.started_ns,
            end_time=span.ended_ns,
            instrumentation_scope=_SCOPE,
        )


class _Sending(SpanExporter):
    """Counts what the SDK takes out of its queue, and what the collector does not take."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._given_up = False
        self.taken = 0

    def give_up(self) -> None:
        """Drop what is not sent yet, so that the thread of the SDK ends with the request it is in."""
        self._given_up = True
        self.shutdown()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE if self._given_up else self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            metrics.spans_dropped.labels("refused").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _context(place: Place) -> SpanContext:
    return SpanContext(int(place.trace_id, 16), int(place.span_id, 16), is_remote=False, trace_flags=TraceFlags(1))


def _attribute(name: str) -> str:
    """`http.route` is OpenTelemetry's own; what has no prefix is ours."""
    return name if "." in name else f"argosy.{name}"
