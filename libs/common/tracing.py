"""Spans of what requests and jobs do, where TRACING_URL names a collector.

Only sampled traces have spans: a caller's flag decides, or TRACING_SHARE of the traces that begin here. Whatever
else runs finds no span in its context, so that it costs next to nothing.

A span never has what callers wrote: no addresses, subjects, texts or file names.
"""

import random
import time
from collections.abc import Mapping
from contextvars import ContextVar
from enum import IntEnum
from types import TracebackType
from typing import NamedTuple, Protocol, Self
from uuid import UUID

from libs.common.errors import ArgosyError, code_of

Value = str | int | float | bool


class Kind(IntEnum):
    """What a span is to those on both sides of it, as OpenTelemetry numbers it."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class Place(NamedTuple):
    """A span in a trace; both ids in hex."""

    trace_id: str
    span_id: str

    @classmethod
    def of(cls, traceparent: str) -> "Place":
        """The span that a W3C `traceparent` names."""
        _, trace_id, span_id, _ = traceparent.split("-")
        return cls(trace_id, span_id)


class Span:
    """Something that takes time. As a context manager it ends with the block, and an error of that fails it."""

    __slots__ = (
        "attributes",
        "children",
        "ended_ns",
        "failed",
        "kind",
        "links",
        "name",
        "parent_id",
        "place",
        "started_ns",
    )

    def __init__(
        self,
        name: str,
        kind: Kind,
        place: Place,
        *,
        parent_id: str | None = None,
        links: tuple[Place, ...] = (),
        attributes: Mapping[str, Value] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.place = place
        self.parent_id = parent_id
        self.links = links
        self.attributes = dict(attributes or {})
        self.failed = False
        self.children = 0
        """How many spans began within it."""
        self.started_ns = self.ended_ns = time.time_ns()

    def set(self, **attributes: Value | None) -> None:
        """Add what is known of it by now."""
        self.attributes |= {name: value for name, value in attributes.items() if value is not None}

    def end(self) -> None:
        """Note that it ends now."""
        self.ended_ns = time.time_ns()
        if self.children > CHILDREN_AT_MOST:
            self.set(left_out=self.children - CHILDREN_AT_MOST)
        if _exporter is not None:
            _exporter.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.failed = True
            self.set(error_code=error.code if isinstance(error, ArgosyError) else code_of(type(error)))
        self.end()


class _NoSpan(Span):
    """What there is in a trace that is not sampled."""

    def set(self, **attributes: Value | None) -> None:
        """Forget it."""

    def end(self) -> None:
        """Tell nobody."""


class Exporter(Protocol):
    """Sends spans without waiting for the collector."""

    def add(self, span: Span) -> None:
        """Send `span`, or drop it if the collector is too slow."""

    def close(self, within_s: float) -> None:
        """Wait for the collector, for `within_s` seconds at most."""


NO_SPAN = _NoSpan("", Kind.INTERNAL, Place("", ""))
SHARE_OF = 1 << 56
CHILDREN_AT_MOST = 100
"""Spans within one span. A letter to thousands has as many transactions: more are left out, and counted."""

_current: ContextVar[Span | None] = ContextVar("span", default=None)
_exporter: Exporter | None = None
_share = 1.0
_ids = random.Random()  # noqa: S311 - ids are not secret, only unique


def start(exporter: Exporter, share: float) -> None:
    """Export by `exporter` from now on. `share`: of the traces that begin here, from 0 to 1."""
    global _exporter, _share
    _exporter, _share = exporter, share


def stop(within_s: float) -> None:
    """Export no more. Waits `within_s` seconds at most for what is on its way."""
    global _exporter, _share
    exporter, _exporter, _share = _exporter, None, 1.0
    if exporter is not None:
        exporter.close(within_s)


def new_traceparent() -> str:
    """A trace that begins here, as W3C's `traceparent`. Where nothing is exported, others may decide to sample."""
    trace = _ids.getrandbits(128) or 1
    sampled = trace % SHARE_OF < _share * SHARE_OF
    return f"00-{trace:032x}-{new_span_id()}-{sampled:02x}"


def new_span_id() -> str:
    """An id of a span, in hex."""
    return f"{_ids.getrandbits(64) or 1:016x}"


def is_sampled(traceparent: str | None) -> bool:
    """Whether spans of this trace are exported."""
    return _exporter is not None and traceparent is not None and bool(int(traceparent[-2:], 16) & 1)


def enter(span: Span | None) -> None:
    """Let `span` be the parent of the spans of this task, and of the tasks that it starts."""
    _current.set(span)


def current() -> Span:
    """The span of this task."""
    return _current.get() or NO_SPAN


def child(name: str, kind: Kind = Kind.INTERNAL, *, span_id: str | None = None, **attributes: Value) -> Span:
    """A span within that of this task. It has no children of its own, so it may end in another task."""
    parent = _current.get()
    if parent is None:
        return NO_SPAN
    parent.children += 1
    if parent.children > CHILDREN_AT_MOST:
        return NO_SPAN
    place = Place(parent.place.trace_id, span_id or new_span_id())
    return Span(name, kind, place, parent_id=parent.place.span_id, attributes=attributes)


def own_trace(name: str, kind: Kind, *, link: Place, **attributes: Value) -> Span:
    """The first span of a trace of its own, which belongs to what is at `link`."""
    place = Place(f"{_ids.getrandbits(128) or 1:032x}", new_span_id())
    return Span(name, kind, place, links=(link,), attributes=attributes)


def span_id_of(job_id: UUID) -> str:
    """The id of the span in which a job fans out. Its children know it from this."""
    return job_id.hex[16:]
