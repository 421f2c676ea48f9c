"""The errors that processes of the fleet agree on.

ArgosyError
├── Unavailable        a server we depend on cannot be reached; trying again later may work
├── Retry              a handler asks for another try
└── Reject             a handler refuses the job for good; subclass it for each typed reason
"""

import re


class ArgosyError(Exception):
    """Something the fleet has a name for. Without a message, it says its docstring, or else its name."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or type(self).__name__).strip().splitlines()[0])

    @property
    def code(self) -> str:
        """The error's name on the wire: the class name in snake_case, such as `page_timeout`."""
        return code_of(type(self))


def code_of(error: type[BaseException]) -> str:
    """A class of errors as it is named on the wire."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", error.__name__).lower()


def message_of(error: BaseException) -> str:
    """What an error says; its class where it says nothing, as a TimeoutError."""
    return str(error) or type(error).__name__


class Unavailable(ArgosyError):
    """A server that this needs cannot be reached."""


class Retry(ArgosyError):
    """The handler asks to be tried again.

    `after`: seconds until then; None leaves it to exponential backoff.
    """

    def __init__(self, message: str | None = None, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Reject(ArgosyError):
    """The job cannot succeed, however often it is tried."""
