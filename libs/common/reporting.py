"""Reports bugs to a server of errors, where ERRORS_DSN names one. What is foreseen is never reported.

A bug that comes again and again is reported once a second at most: it must not use up a quota, nor the time of the
process that has it. The log has every one of them.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from libs.common import metrics
from libs.common.errors import ArgosyError

EVERY_S = 1.0
"""Reports of one kind of bug are this many seconds apart."""
KINDS_AT_MOST = 1_000
"""Kinds of bugs that are remembered."""
RESULTS = ("sent", "held_back", "lost")
OUR_CODE = ("libs", "services")

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Report:
    """A bug, and where it came to light."""

    error: BaseException
    event: str
    part: str
    kind: tuple[str, ...]
    """What reports of the same bug have in common: the part, the class of the error, where it was raised."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """`job_id`, `request_id` and `trace_id`, if known: the log has them too."""


class Sender(Protocol):
    """Sends reports without waiting for the server."""

    def send(self, report: Report) -> None:
        """Send `report`, or drop it if the server is too slow."""

    def close(self, within_s: float) -> None:
        """Wait for the server, for `within_s` seconds at most."""


_sender: Sender | None = None
_reported_at: dict[tuple[str, ...], float] = {}


def start(sender: Sender) -> None:
    """Report by `sender` from now on."""
    global _sender
    metrics.show_from_the_start(metrics.error_reports, result=RESULTS)
    _reported_at.clear()
    _sender = sender


def stop(within_s: float) -> None:
    """Report no more. Waits `within_s` seconds at most for what is on its way."""
    global _sender
    sender, _sender = _sender, None
    if sender is not None:
        sender.close(within_s)


def of_log_line(line: Mapping[str, Any]) -> None:
    """Report the error of a line of the log, if it is logged as a bug. What libraries log may be an outage."""
    if _sender is None or line.get("level") not in ("error", "critical"):
        return
    library = line["_record"].name if "_record" in line else None
    error = _error_of(line.get("exc_info"))
    if error is not None and library in (None, "asyncio"):  # asyncio tells of tasks that nobody awaits
        report(error, event=str(line["event"]), part=str(line.get("part", library)), facts=line)


def report(error: BaseException, *, event: str, part: str, facts: Mapping[str, Any]) -> None:
    """Report `error` unless it is foreseen, or one of its kind was reported within EVERY_S."""
    sender = _sender
    if sender is None or isinstance(error, ArgosyError):
        return
    kind = (part, type(error).__qualname__, _own_place(error.__traceback__))
    now = time.monotonic()
    if now - _reported_at.get(kind, float("-inf")) < EVERY_S:
        metrics.error_reports.labels("held_back").inc()
        return
    if len(_reported_at) >= KINDS_AT_MOST:
        _reported_at.clear()
    _reported_at[kind] = now
    metrics.error_reports.labels("sent").inc()
    sender.send(Report(error, event, part, kind, _known(facts, ("job_id", "request_id", "trace_id"))))


def _known(facts: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    return {name: str(facts[name]) for name in names if facts.get(name)}


def _error_of(given: object) -> BaseException | None:
    """The error that `exc_info` of a log line means."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None


def _own_place(traceback: TracebackType | None) -> str:
    """The last function of ours that the error came through, such as `services/ocr/handler.py:handle`."""
    place = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        path = Path(code.co_filename)
        if path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in OUR_CODE:
            place = f"{path.relative_to(_ROOT)}:{code.co_qualname}"
        traceback = traceback.tb_next
    return place
