"""Errors of exports. The class name is the error code, the docstring is the message."""

from libs.common.errors import Reject


class TooSlow(Reject):
    """Reading the rows took too long. Select fewer with a filter, or fewer columns."""


class TooLarge(Reject):
    """A workbook may have 20,000,000 rows. Select fewer with a filter, or choose another format."""


class SinceUnknown(Reject):
    """The export that `since` names is not one of this dataset, or it has been forgotten."""
