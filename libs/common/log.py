"""Logging: one JSON line per event on standard output, with the ids of its job and trace, and without secrets."""

import asyncio
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple
from uuid import UUID

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from libs.common import reporting
from libs.common.contracts.ids import public_id
from libs.common.redaction import redacted


class Subject(NamedTuple):
    """The job that the running task works on, and the W3C `traceparent` that the job was submitted with."""

    job_id: UUID
    trace: str | None


about: ContextVar[Subject | None] = ContextVar("about", default=None)
"""Set by the code that starts a task for a job; every line logged in that task carries its ids."""

Logger = structlog.typing.FilteringBoundLogger


class Trace(NamedTuple):
    """The ids in a W3C `traceparent`: the trace, and our request in it, whose id is made of the span id."""

    trace_id: str
    request_id: str

    @classmethod
    def of(cls, traceparent: str) -> "Trace":
        """Parse `traceparent`."""
        _, trace_id, span, _ = traceparent.split("-")
        return cls(trace_id, f"req_{span}")


def _add_subject(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    subject = about.get()
    if subject is not None:
        event["job_id"] = public_id(subject.job_id)
        if subject.trace is not None:
            event.update(Trace.of(subject.trace)._asdict())
    return event


def _report(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if "exc_info" in event:
        reporting.of_log_line(event)
    return event


def setup(service: str) -> None:
    """Send all logs of this process, ours and those of libraries, to standard output as JSON lines."""
    _lines.service = service

    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_service,
        _add_subject,
        _report,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_rendered)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=lambda event, **_: _rendered(event).decode()),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    sys.excepthook = _log_uncaught


def _rendered(event: EventDict, **_: object) -> bytes:
    return redacted(orjson.dumps(event, default=str))


def _log_uncaught(type_: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Log the error that ends this process. The interpreter would print it with all secrets."""
    if issubclass(type_, KeyboardInterrupt):
        sys.__excepthook__(type_, error, traceback)
        return
    get("log").critical("process.died", exc_info=(type_, error, traceback))


class _Lines:
    """Collects frequent log lines, and writes those of one iteration of the event loop together."""

    def __init__(self) -> None:
        self.service = ""
        self._waiting: list[bytes] = []

    def add(self, fields: Mapping[str, object]) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        now = datetime.now(UTC)
        fields = {**fields, "timestamp": now, "service": self.service}
        self._waiting.append(
            orjson.dumps(fields, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
        )

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        sys.stdout.buffer.write(redacted(b"".join(lines)))
        sys.stdout.buffer.flush()


_lines = _Lines()


def line(**fields: object) -> None:
    """Log `fields` as one JSON line, without structlog. It is for events so frequent that the cost matters.

    Needs a running event loop.
    """
    _lines.add(fields)


def get(name: str) -> Logger:
    """A logger whose lines carry `name` as the `part` of the program."""
    logger: Logger = structlog.get_logger(part=name)
    return logger
