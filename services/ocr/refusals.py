"""Errors of the OCR service. The class name is the error code, the docstring is the message."""

from libs.common.errors import ArgosyError, Reject


class UnreadableDocument(Reject):
    """The file is damaged, or is not of the type that it claims to be."""


class EncryptedDocument(Reject):
    """The PDF is encrypted, and no password was given. Retry the job with `password`."""


class WrongPassword(Reject):
    """The password does not open the PDF. Retry the job with the right one."""


class PasswordLost(Reject):
    """The password cannot be decrypted, because OCR_SECRET is another. Retry the job with `password`."""


class EncryptedForCertificate(Reject):
    """The PDF is encrypted for a certificate; remove its encryption first."""


class EmptyDocument(Reject):
    """The document has no pages."""


class SourceMissing(Reject):
    """The upload is no longer in the blob store."""


class TooManyPages(Reject):
    """The document has too many pages."""


class NoSuchPage(Reject):
    """The document has no page in the requested range."""


class ImageTooLarge(Reject):
    """The image has more pixels than can be decoded."""


class PagesFailed(Reject):
    """Some pages could not be read."""


class LanguageNotInstalled(Reject):
    """A requested language is not installed."""


class PageTimeout(Reject):
    """A page took too long to read."""


class OutOfMemory(Reject):
    """A page needs too much memory."""


class ScratchFolderFull(Reject):
    """A page or document needs too much room for temporary files."""


class PageCrashed(ArgosyError):
    """The process that read a page died."""


class EngineFailed(ArgosyError):
    """Tesseract failed."""


class EngineRefused(EngineFailed, Reject):
    """The OCR engine does not accept the picture of the page."""
