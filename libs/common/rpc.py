"""Questions to the service that owns the answer, over NATS: `query.<service>.<name>`, from gateways to workers.

A question and an answer are JSON objects, with numbers of any size (which orjson has not). Before each goes a line
of JSON of its own: whose question it is, or what went wrong, with a code: an ArgosyError's, or `bug`. Apart, so
that what a caller could nest as deeply as a parser goes, the next parser can read.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from pydantic_core import from_json, to_json

from libs.common import log
from libs.common.bus import Bus
from libs.common.errors import ArgosyError

D = TypeVar("D")
Document = dict[str, Any]
RpcHandler = Callable[[str, Document, D], Awaitable[Document]]
"""Of a tenant's question, with what the service's handler needs too."""
ANSWER_WITHIN_S = 10.0
REQUEST_BYTES_AT_MOST, REPLY_BYTES_AT_MOST = 800_000, 1_000_000
"""NATS takes 1 MiB, unless its server is told otherwise. What was kept by a question fits into an answer."""

logger = log.get("rpc")


class RpcError(ArgosyError):
    """The service does not answer this question. `reason`: its error's code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RequestTooLong(ArgosyError):
    """The question is too long to be sent."""


async def call(bus: Bus, service: str, name: str, tenant: str, request: Document) -> Document:
    """The answer of `service`. Raises RequestTooLong, RpcError, Unavailable, TimeoutError."""
    message = to_json({"tenant": tenant}) + b"\n" + to_json(request)
    if len(message) > REQUEST_BYTES_AT_MOST:
        raise RequestTooLong
    reply = await bus.request(_subject(service, name), message, within_s=ANSWER_WITHIN_S)
    error, _, answer = reply.partition(b"\n")
    if refused := from_json(error):
        raise RpcError(refused["code"], refused["message"])
    document: Document = from_json(answer)
    return document


def serve(handlers: Mapping[str, RpcHandler[D]], deps: D) -> Callable[[str, bytes], Awaitable[bytes]]:
    """What answers on the subject of all questions to a service."""

    async def answer(subject: str, message: bytes) -> bytes:
        name = subject.rpartition(".")[2]
        try:
            asker, _, request = message.partition(b"\n")
            reply = b"{}\n" + to_json(await handlers[name](from_json(asker)["tenant"], from_json(request), deps))
            return reply if len(reply) <= REPLY_BYTES_AT_MOST else _error("too_large", "The answer is too large.")
        except ArgosyError as error:
            return _error(error.code, str(error))
        except Exception as error:
            logger.exception("rpc.bug", procedure=name)
            return _error("bug", type(error).__name__)

    return answer


def subject_pattern(service: str) -> str:
    """Of all questions to `service`."""
    return _subject(service, "*")


def _subject(service: str, name: str) -> str:
    return f"query.{service}.{name}"


def _error(code: str, message: str) -> bytes:
    return to_json({"code": code, "message": message})
