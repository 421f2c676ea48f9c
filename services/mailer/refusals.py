"""Errors of the mailer. The class name is the error code, the docstring is the message."""

from libs.common.errors import ArgosyError, Reject


class TemplateInvalid(Reject):
    """A template of the letter is not valid."""


class TemplateMissing(Reject):
    """There is no such template."""


class ComposingTooSlow(Reject):
    """Rendering the letter's templates took too long."""


class ComposingTooLarge(Reject):
    """Rendering the letter's templates needs too much memory."""


class ComposingCrashed(ArgosyError):
    """The process that rendered the letter's templates died."""


class AttachmentMissing(Reject):
    """An attachment of the letter is no longer in the blob store."""


class MostBounced(Reject):
    """Most recipients so far have bounced, so the letter has stopped."""


class NobodyReached(Reject):
    """The letter could not be sent to any recipient."""


class PartsFailed(Reject):
    """The letter could not be sent to some recipients."""


class LetterGone(Reject):
    """The letter has been deleted."""


class NoLongerOurs(ArgosyError):
    """Another worker has taken over this part of the letter."""


class TooEarly(ArgosyError):
    """The report arrived before the delivery it is about was recorded."""


class TokenInvalid(ArgosyError):
    """This link was not issued by this service."""


class NotFound(ArgosyError):
    """There is no such letter."""


class TooManyFollowers(ArgosyError):
    """A deadline can have 1,000 followers."""
