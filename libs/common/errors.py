"""The error classes that all processes of the fleet share.

ArgosyError
├── Unavailable        a server that this process depends on cannot be reached; a retry may work
│   └── StorageUnavailable   this server is the blob store
├── Misconfigured      a server refuses the settings of this process; a retry cannot work
├── Retry              a handler asks for a retry
└── Reject             a handler refuses the job, without a retry; subclass it for each reason
    └── BlobMissing    a blob that must be there is not
"""

import re

_ADDRESS = re.compile(r"(?: at)? 0x[0-9a-f]{6,}(?=[ >])")
"""As in `<object at 0x7f434d39bd80>`."""


class ArgosyError(Exception):
    """An error with a code. Without a message, its docstring's first line is the message, or else its name."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or type(self).__name__).strip().splitlines()[0])

    @property
    def code(self) -> str:
        """The error's code on the wire: the class name in snake_case, such as `page_timeout`."""
        return code_of(type(self))


def code_of(error: type[BaseException]) -> str:
    """The code of an error class on the wire."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", error.__name__).lower()


def all_codes() -> set[str]:
    """The codes of all errors that this process knows, and `bug` for all others."""
    found, waiting = {"bug"}, [ArgosyError]
    while waiting:
        error = waiting.pop()
        found.add(code_of(error))
        waiting += error.__subclasses__()
    return found


def message_of(error: BaseException) -> str:
    """The error's message, or its class name if the message is empty, as that of a TimeoutError may be."""
    return str(error) or type(error).__name__


def storable(text: str) -> str:
    """`text` without NULs, which PostgreSQL refuses, and with `?` for lone surrogates, which UTF-8 refuses."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def without_addresses(text: str) -> str:
    """`text`, in which Python may have printed objects, without where they are in memory."""
    return _ADDRESS.sub("", text)


class Unavailable(ArgosyError):
    """A server that this operation needs cannot be reached.

    `server`: its name, if the message has the words of a library, which may name addresses.
    """

    def __init__(self, message: str | None = None, *, server: str | None = None) -> None:
        super().__init__(message)
        self.server = server

    @property
    def told(self) -> str:
        """What the owner of a job is told. The message is for the log."""
        return f"{self.server} cannot be used now." if self.server else str(self)


class StorageUnavailable(Unavailable):
    """The blob store cannot be used now.

    `reason`: a label of the metric argosy_storage_errors, such as `full`; see blobs.py.
    """

    def __init__(self, message: str | None = None, *, reason: str = "other") -> None:
        super().__init__(message)
        self.reason = reason


class Misconfigured(ArgosyError):
    """A server refuses this process because of its settings; a retry cannot work."""


class Retry(ArgosyError):
    """The handler asks for a retry.

    `after`: seconds to wait; None: exponential backoff decides.
    """

    def __init__(self, message: str | None = None, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Reject(ArgosyError):
    """The job cannot succeed, however often it is retried."""


class BlobMissing(Reject):
    """A file that must be in the blob store is not there.

    It will not come: stores show what was written at once, and one that is away itself is StorageUnavailable.
    """
