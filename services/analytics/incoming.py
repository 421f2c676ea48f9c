"""Reads events as callers send them. One that cannot count is refused with its reason, and costs no other."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from libs.common.contracts.analytics import (
    EVENT_NAME,
    ID_AT_MOST,
    PROPERTIES_AT_MOST,
    PROPERTIES_BYTES_AT_MOST,
    SUBJECT_AT_MOST,
    Reason,
)
from libs.common.errors import storable

AHEAD_AT_MOST = timedelta(hours=1)
"""How far a caller's clock may be ahead."""
LATE_AFTER = timedelta(hours=1)
LARGEST_NUMBER = 1.7976931348623157e308
"""Of those that a double can hold."""

_NAME = re.compile(EVENT_NAME)
_UUID7 = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?7[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}", re.IGNORECASE)
_MAYBE_NOT_FINITE = re.compile(rb"NaN|Infinity|\d{309}")


@dataclass(frozen=True, slots=True)
class Event:
    """An event that may count. `at` is in UTC, and `day` is that of `at`; `properties` is a JSON object as text.

    `sent` is what the caller sent.
    """

    id: str
    name: str
    at: datetime
    day: date
    subject: str | None
    properties: str
    sent: Any = field(compare=False, repr=False)

    @property
    def key(self) -> tuple[str, date]:
        """What makes it one event: another with this key is a repetition."""
        return self.id, self.day


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that does not count. `event` is what the caller sent."""

    event: Any
    reason: Reason
    detail: str | None = None


class _No(Exception):
    def __init__(self, reason: Reason, detail: str | None = None) -> None:
        self.reason, self.detail = reason, detail


def read(sent: Any, received_at: datetime) -> Event | Refused:
    """Check what a caller sent, received at `received_at`."""
    try:
        return _read(sent, received_at)
    except _No as no:
        return Refused(sent, no.reason, no.detail)


def _read(sent: Any, received_at: datetime) -> Event:
    if not isinstance(sent, dict):
        raise _No(Reason.NOT_AN_OBJECT)
    id_ = _id(sent.get("id"))
    name = sent.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _No(Reason.BAD_NAME)
    at = _time(sent.get("time"), id_)
    if at > received_at + AHEAD_AT_MOST:
        raise _No(Reason.IN_THE_FUTURE, f"It was received at {received_at.astimezone(UTC).isoformat()}.")
    subject, properties = _subject(sent.get("subject")), _properties(sent.get("properties"))
    return Event(id_, name, at, at.date(), subject, properties, sent)


def _id(given: Any) -> str:
    if not isinstance(given, str) or not (id_ := storable(given)):
        raise _No(Reason.NO_ID)
    if len(id_) > ID_AT_MOST:
        raise _No(Reason.ID_TOO_LONG)
    return id_


def _time(given: Any, id_: str) -> datetime:
    if given is None and not _UUID7.fullmatch(id_):
        raise _No(Reason.NO_TIME)
    try:
        if given is None:
            return datetime.fromtimestamp((UUID(id_).int >> 80) / 1000, UTC)
        at = datetime.fromisoformat(given)
        if at.tzinfo is None:
            raise _No(Reason.BAD_TIME, "It has no offset from UTC.")
        return at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise _No(Reason.BAD_TIME, storable(str(error))[:200]) from error


def _subject(given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not 0 < len(subject := storable(given)) <= SUBJECT_AT_MOST:
        raise _No(Reason.BAD_SUBJECT)
    return subject


def _properties(given: Any) -> str:
    if given is None:
        return "{}"
    if not isinstance(given, dict):
        raise _No(Reason.BAD_PROPERTIES, "They are not an object.")
    if len(given) > PROPERTIES_AT_MOST:
        raise _No(Reason.PROPERTIES_TOO_LARGE, f"There are more than {PROPERTIES_AT_MOST}.")
    try:
        text = to_json(given, inf_nan_mode="constants")
    except (ValueError, TypeError):  # lone surrogates
        text = to_json(_mapped(given, storable), inf_nan_mode="constants")
    if len(text) > PROPERTIES_BYTES_AT_MOST:
        raise _No(Reason.PROPERTIES_TOO_LARGE, f"They have more than {PROPERTIES_BYTES_AT_MOST} bytes.")
    if _MAYBE_NOT_FINITE.search(text):
        _refuse_what_is_not_finite(given)
    if b"\\u0000" in text:
        text = to_json(_mapped(given, storable))
    return text.decode()


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with every text in it changed."""
    match value:
        case str():
            return change(value)
        case list():
            return [_mapped(item, change) for item in value]
        case dict():
            return {change(str(name)): _mapped(item, change) for name, item in value.items()}
    return value


def _refuse_what_is_not_finite(value: Any) -> None:
    match value:
        case bool():
            return
        case int() | float():
            if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
                raise _No(Reason.NOT_FINITE)
        case list():
            for item in value:
                _refuse_what_is_not_finite(item)
        case dict():
            for item in value.values():
                _refuse_what_is_not_finite(item)
