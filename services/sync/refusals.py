"""Errors of sync. The class name is the error code, the docstring is the message."""

from datetime import datetime

from libs.common.errors import ArgosyError, Reject, Retry


class NotFound(ArgosyError):
    """There is no such source."""


class CursorInvalid(ArgosyError):
    """This is not a cursor of this list with these filters."""


class ChangesForgotten(ArgosyError):
    """Some changes behind this cursor are no longer known. Read everything anew, and go on without a cursor."""


class SearchTooSlow(ArgosyError):
    """The search took more than two seconds. Ask for less: rarer words, or more filters."""


class SourceBusy(ArgosyError):
    """A run of this source has not ended."""


class TooManySources(ArgosyError):
    """A tenant can have 500 sources."""


class TooManySearches(ArgosyError):
    """A tenant can have 500 saved searches."""


class NoLongerOurs(ArgosyError):
    """Another worker has taken over this run."""


class Wait(ArgosyError):
    """The source is not to be asked before `until`."""

    def __init__(self, until: datetime, message: str | None = None) -> None:
        super().__init__(message)
        self.until = until


class SourceStopped(Reject):
    """The source answered 410: it is gone for good. Put it again to try it again."""


class SourceDeleted(Reject):
    """There is no such source any more."""


class HeadersLost(Reject):
    """The headers of the source cannot be decrypted, because SYNC_SECRET is another. Put them again."""


class SourcePaused(Reject):
    """Ten runs in a row have failed. Put the source again to try it again."""


class UnreadableBody(Reject):
    """The answer is not in the format that was said."""


class TooLarge(Reject):
    """The answer, or the run, is larger than is allowed."""


class SourceTooSlow(Retry):
    """The source took too long to answer."""


class PagingLoops(Reject):
    """The source named a page that has been read already."""


class MappingFitsBadly(Reject):
    """More than half of the records do not pass. Look at those that were rejected."""


class SuspiciousShrink(Reject):
    """Many more opportunities would be gone than `max_gone_ratio` allows, so none is."""


class SourceRefused(Reject):
    """The source answered 401 or 403."""


class SourceMissing(Reject):
    """The source answered 404."""


class SourceUnavailable(Retry):
    """The source cannot be reached, or answered with an error of its own."""


class AddressRefused(Reject):
    """The address of the source is not one of the public internet."""


class RobotsRefuse(Reject):
    """The source's robots.txt does not let us read this page."""


class ReadingCrashed(Reject):
    """The process that read the answer of the source died."""


class ReadingTooSlow(Reject):
    """It took too long to read the answer of the source."""
