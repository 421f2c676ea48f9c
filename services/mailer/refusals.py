"""Why a letter is not sent at all. The class is the error's code, its docstring the message."""

from libs.common.errors import ArgosyError, Reject


class TemplateInvalid(Reject):
    """A template of the letter cannot be read."""


class TemplateMissing(Reject):
    """There is no such template."""


class ComposingTooSlow(Reject):
    """Filling in the letter's templates took longer than it may."""


class ComposingTooLarge(Reject):
    """Filling in the letter's templates needs more memory than it may have."""


class ComposingCrashed(ArgosyError):
    """The process that filled in the letter's templates died."""


class AttachmentMissing(Reject):
    """A file that should go with the letter is no longer in the blob store."""


class PartsFailed(Reject):
    """Some recipients could not be written to."""


class LetterGone(Reject):
    """The letter is no longer kept."""


class NoLongerOurs(ArgosyError):
    """Another worker has this part of the letter by now."""


class TooEarly(ArgosyError):
    """A report about a letter whose sender does not know yet what became of it."""


class TokenInvalid(ArgosyError):
    """This link is not one of ours."""


class NotFound(ArgosyError):
    """There is no such letter."""
