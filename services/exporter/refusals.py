"""Errors of exports. The class name is the error code, the docstring is the message, after the file's name."""

from libs.common.errors import Reject, message_of


class FileRefused(Reject):
    """A file cannot be written as it was asked for."""

    def __init__(self, file: str) -> None:
        super().__init__()
        super().__init__(f"{file}: {message_of(self)}")


class TooSlow(FileRefused):
    """Reading the rows took too long. Select fewer with a filter, or fewer columns."""


class TooLarge(FileRefused):
    """A workbook may have 20,000,000 rows. Select fewer with a filter, or choose another format."""


class SinceUnknown(FileRefused):
    """The export that `since` names has no file of this dataset, or it has been forgotten."""
