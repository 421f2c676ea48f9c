"""Request/reply over NATS, from gateways to workers, on the subjects `query.<service>.<name>`.

A request and a reply are JSON objects with numbers of any size, which orjson does not support. Each follows a
first line of JSON. In a request, this line names the tenant. In a reply, it is empty (`{}`) or describes an error:
its message, and its code, which is that of an ArgosyError or `bug`. It is a separate line so that it does not nest
the object one level deeper: an object as deep as one parser allows must still be readable for the next parser.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic_core import from_json, to_json

from libs.common import log
from libs.common.bus import Bus
from libs.common.contracts.json_documents import encoded
from libs.common.errors import ArgosyError

D = TypeVar("D")
Document = dict[str, Any]
RpcHandler = Callable[[str, Document, D], Awaitable[Document]]
"""Gets the tenant, the request, and the same dependencies as the service's job handler. Returns the reply."""
REPLY_WITHIN_S = 10.0
REQUEST_BYTES_AT_MOST, REPLY_BYTES_AT_MOST = 800_000, 1_000_000
"""NATS servers accept 1 MiB by default. Whatever one request has stored fits into one reply."""
PAGE_BYTES_AT_MOST = REPLY_BYTES_AT_MOST * 8 // 10

logger = log.get("rpc")


class RpcError(ArgosyError):
    """The service replied with an error. `reason` is its code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RequestTooLong(ArgosyError):
    """The request is too long to be sent."""


async def call(bus: Bus, service: str, name: str, tenant: str, request: Document) -> Document:
    """Call the handler `name` of `service` and return its reply.

    Raises RequestTooLong, RpcError, Unavailable, or TimeoutError after REPLY_WITHIN_S.
    """
    message = to_json({"tenant": tenant}) + b"\n" + to_json(request)
    if len(message) > REQUEST_BYTES_AT_MOST:
        raise RequestTooLong
    reply = await bus.request(_subject(service, name), message, within_s=REPLY_WITHIN_S)
    first_line, _, body = reply.partition(b"\n")
    if error := from_json(first_line):
        raise RpcError(error["code"], error["message"])
    document: Document = from_json(body)
    return document


def serve(handlers: Mapping[str, RpcHandler[D]], deps: D) -> Callable[[str, bytes], Awaitable[bytes]]:
    """Return the function that serves `subject_pattern`: it dispatches each request to its handler."""

    async def handle(subject: str, message: bytes) -> bytes:
        name = subject.rpartition(".")[2]
        try:
            first_line, _, body = message.partition(b"\n")
            tenant = from_json(first_line)["tenant"]
            reply = b"{}\n" + encoded(await handlers[name](tenant, from_json(body), deps))
            return reply if len(reply) <= REPLY_BYTES_AT_MOST else _error("too_large", "The reply is too large.")
        except ArgosyError as error:
            return _error(error.code, str(error))
        except Exception as error:
            logger.exception("rpc.bug", procedure=name)
            return _error("bug", type(error).__name__)

    return handle


def page(name: str, found: list[Document], limit: int, key: str = "number") -> Document:
    """Return as many of `found` as fit into a reply, and in `next_after` the last `key` if there are more."""
    fit = fitting(found)
    more = fit < len(found) or len(found) == limit
    return {name: found[:fit], "next_after": found[fit - 1][key] if more else None}


def fitting(found: Sequence[Document]) -> int:
    """How many of the first of `found` fit into a reply: at least one, if there is one."""
    size = 0
    for number, document in enumerate(found):
        size += len(encoded(document))
        if size > PAGE_BYTES_AT_MOST and number:
            return number
    return len(found)


def subject_pattern(service: str) -> str:
    """The subject of all requests to `service`."""
    return _subject(service, "*")


def _subject(service: str, name: str) -> str:
    return f"query.{service}.{name}"


def _error(code: str, message: str) -> bytes:
    return to_json({"code": code, "message": message})
