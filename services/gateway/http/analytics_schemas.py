"""As schemas.py, of what concerns events; libs/common/contracts/analytics.py has the rest."""

from typing_extensions import TypedDict

from libs.common.contracts.analytics import EventTypeAnswer, RejectedEvent


class EventsAccepted(TypedDict):
    """How many events were stored, and the job that counts them, with events of other requests."""

    accepted: int
    job: str


class EventTypePage(TypedDict):
    """A page of event types by name."""

    types: list[EventTypeAnswer]
    next_cursor: str | None


class RejectedEvents(TypedDict):
    """A page of events that did not count. `not_kept`: how many more were only counted."""

    rejected: list[RejectedEvent]
    next_cursor: str | None
    not_kept: int
