"""Reads events as callers send them. One that cannot count is refused with its reason, and costs no other.

They come out of the ledger, so no text in them has anything that PostgreSQL cannot store.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
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
from libs.common.contracts.moments import written

AHEAD_AT_MOST = timedelta(hours=1)
"""How far a caller's clock may be ahead."""
LATE_AFTER = timedelta(hours=1)
LARGEST_NUMBER = 1.7976931348623157e308
"""Of those that a double can hold."""

_NAME = re.compile(EVENT_NAME)
_UUID7 = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?7[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}", re.IGNORECASE)
_FINITE_UP_TO = 308
"""Characters of JSON in which there is no number beyond LARGEST_NUMBER."""


@dataclass(slots=True)  # frozen ones take three times as long to make
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
    id_, name, subject = sent.get("id"), sent.get("name"), sent.get("subject")
    if not isinstance(id_, str) or not id_:
        raise _No(Reason.NO_ID)
    if len(id_) > ID_AT_MOST:
        raise _No(Reason.ID_TOO_LONG)
    if not isinstance(name, str) or not _is_name(name):
        raise _No(Reason.BAD_NAME)
    at = _time(sent.get("time"), id_)
    if at > received_at + AHEAD_AT_MOST:
        raise _No(Reason.IN_THE_FUTURE, f"It was received at {written(received_at)}.")
    if subject is not None and not (isinstance(subject, str) and 0 < len(subject) <= SUBJECT_AT_MOST):
        raise _No(Reason.BAD_SUBJECT)
    return Event(id_, name, at, at.date(), subject, _properties(sent.get("properties")), sent)


@lru_cache(maxsize=10_000)
def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


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
        raise _No(Reason.BAD_TIME, "It is no time in ISO 8601, such as 2030-12-24T12:00:00Z.") from error


def _properties(given: Any) -> str:
    if given is None:
        return "{}"
    if not isinstance(given, dict):
        raise _No(Reason.BAD_PROPERTIES, "They are not an object.")
    if len(given) > PROPERTIES_AT_MOST:
        raise _No(Reason.PROPERTIES_TOO_LARGE, f"There are more than {PROPERTIES_AT_MOST}.")
    text = to_json(given, inf_nan_mode="constants")
    if len(text) > PROPERTIES_BYTES_AT_MOST:
        raise _No(Reason.PROPERTIES_TOO_LARGE, f"They have more than {PROPERTIES_BYTES_AT_MOST} bytes.")
    if len(text) > _FINITE_UP_TO or b"NaN" in text or b"Infinity" in text:
        _refuse_what_is_not_finite(given)
    return text.decode()


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
