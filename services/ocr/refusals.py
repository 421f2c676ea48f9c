"""Why a document cannot be read. The class is the error's code, its docstring the message."""

from libs.common.errors import ArgosyError, Reject


class UnreadableDocument(Reject):
    """The file is damaged or is not what it seems."""


class EncryptedDocument(Reject):
    """The PDF is encrypted; remove its password first."""


class EmptyDocument(Reject):
    """The document has no pages."""


class SourceMissing(Reject):
    """The upload is no longer in the blob store."""


class TooManyPages(Reject):
    """The document has more pages than are accepted."""


class NoSuchPage(Reject):
    """The document has no page in the range asked for."""


class ImageTooLarge(Reject):
    """The image has more pixels than can be decoded."""


class PagesFailed(Reject):
    """Some pages could not be read."""


class LanguageNotInstalled(Reject):
    """A language asked for is not installed."""


class PageTimeout(Reject):
    """A page took longer than it may."""


class OutOfMemory(Reject):
    """A page needs more memory than it may have."""


class PageCrashed(ArgosyError):
    """The process that read a page died."""


class EngineFailed(ArgosyError):
    """Tesseract failed."""
