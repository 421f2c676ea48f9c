"""A server that takes reports of errors in Sentry's protocol and traces in OTLP, and keeps them."""

import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests import http_serving


@dataclass
class Receiver:
    """What has come. While `answering` is not set, callers wait."""

    port: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    spans: list["Span"] = field(default_factory=list)
    raw: bytes = b""
    """All bodies, uncompressed."""
    requests: int = 0
    answering: threading.Event = field(default_factory=threading.Event)

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.port}/1"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, path: str, body: bytes) -> None:
        self.raw += body
        if path == "/v1/traces":
            self.spans += _spans(body)
        elif path.endswith("/envelope/"):
            self.events += [item for line in body.splitlines()[1:] if "exception" in (item := json.loads(line))]
        self.requests += 1


@dataclass(frozen=True)
class Span:
    """A span, its ids in hex. `links`: (trace id, span id)."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]
    failed: bool
    service: str
    seconds: float


def _spans(body: bytes) -> Iterator[Span]:
    for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = {pair.key: pair.value.string_value for pair in sent.resource.attributes}
        for scope in sent.scope_spans:
            for one in scope.spans:
                yield Span(
                    one.name, one.kind, one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex(),
                    tuple((link.trace_id.hex(), link.span_id.hex()) for link in one.links),
                    {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in one.attributes},
                    one.status.code == one.status.STATUS_CODE_ERROR, resource["service.name"],
                    (one.end_time_unix_nano - one.start_time_unix_nano) / 1e9,
                )  # fmt: skip


def tree(spans: list[Span]) -> str:
    """The spans as people read them: children below their parents, in the order in which they came to an end."""
    known = {span.span_id for span in spans}

    def lines(parent: str, depth: int) -> Iterator[str]:
        for span in spans:
            if span.parent_id == parent or (depth == 0 and span.parent_id not in known):
                yield f"{'  ' * depth}{span.name}"
                yield from lines(span.span_id, depth + 1)

    return "\n".join(lines("-", 0))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()
    receiver.answering.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            match self.headers.get("Content-Encoding"):
                case "gzip":
                    body = gzip.decompress(body)
                case "deflate":
                    body = zlib.decompress(body)
            receiver.answering.wait()
            receiver.take(self.path, body)
            answer = b"{}" if self.path != "/v1/traces" else b""
            with suppress(OSError):  # who waited may have gone
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with http_serving.serving(Handler, receiver.answering.set) as receiver.port:
        yield receiver
