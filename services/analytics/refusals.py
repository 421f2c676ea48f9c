"""Errors of analytics. The class name is the error code, the docstring is the message."""

from libs.common.errors import ArgosyError, Reject


class TooSlow(Reject):
    """The report took longer than 60 s. Ask for a shorter range, or for fewer steps."""


class SchemaInvalid(ArgosyError):
    """The schema cannot be used."""


class TooManyRows(ArgosyError):
    """Uniques by the hour are counted from events, of which there are too many. Ask for a shorter range."""


class NotFound(ArgosyError):
    """There is no such event type."""


class NoLongerOurs(ArgosyError):
    """Another worker has taken over this job."""
