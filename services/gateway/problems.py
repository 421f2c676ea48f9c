"""Errors as application/problem+json (RFC 9457). The only module that turns errors into HTTP statuses."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from libs.common import errors, log
from libs.common.contracts.json_documents import encoded
from libs.common.errors import ArgosyError, Unavailable, code_of
from libs.common.ledger.making import OtherRequest
from libs.common.redaction import redacted
from services.gateway.field_errors import field_error, field_errors

logger = log.get("problems")


class Problem(ArgosyError):
    """An error that the caller is told. Subclasses set status and title; their docstring is the default detail.

    `type` is a registered one, which is the same wherever a gateway is reached: `code` says what went wrong.
    """

    type = "about:blank"
    status = 400
    title = "Bad request"
    always: ClassVar[Mapping[str, str]] = {}
    """Header fields of every response with this problem."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.headers = {**self.always, **(headers or {})}
        self.members = members


class BadRequest(Problem):
    """The request could not be understood."""


class Unauthenticated(Problem):
    """Send an API key as `Authorization: Bearer <key>`."""

    status = 401
    title = "Unauthenticated"
    always: ClassVar = {"WWW-Authenticate": "Bearer"}


class Forbidden(Problem):
    """This key is not allowed to do that."""

    status = 403
    title = "Forbidden"


class NotFound(Problem):
    """There is nothing here."""

    status = 404
    title = "Not found"


class MethodNotAllowed(Problem):
    """This path does not support that method."""

    status = 405
    title = "Method not allowed"


class RequestTimeout(Problem):
    """The body did not arrive, or arrived too slowly."""

    status = 408
    title = "Request timeout"
    always: ClassVar = {"Connection": "close"}


class Gone(Problem):
    """This was here once, and will not be again."""

    status = 410
    title = "Gone"


class TooLarge(Problem):
    """The body is too large."""

    status = 413
    title = "Too large"


class UnsupportedMediaType(Problem):
    """This kind of content is not accepted here."""

    status = 415
    title = "Unsupported media type"


class RangeNotSatisfiable(Problem):
    """The requested range is outside the file."""

    status = 416
    title = "Range not satisfiable"


class HeadTooLarge(Problem):
    """The request's header fields are too large."""

    status = 431
    title = "Header fields too large"


class Invalid(Problem):
    """Some fields are invalid."""

    status = 422
    title = "Invalid"

    def __init__(
        self, detail: str | None = None, *, errors: Sequence[Mapping[str, str]] = (), **members: Any
    ) -> None:
        """`errors`: the invalid fields, each with `field` and `message`."""
        completed = [{**field_error(one["field"], one["message"]), **one} for one in errors]
        named: dict[str, Any] = {"errors": completed} if completed else {}
        super().__init__(detail, **named, **members)


class IdempotencyMismatch(Problem):
    """This Idempotency-Key was used with a different request before."""

    status = 422
    title = "Idempotency-Key used twice"


class Conflict(Problem):
    """The current state does not allow this."""

    status = 409
    title = "Conflict"


class TooManyKeys(Problem):
    """The tenant may not have more keys."""

    status = 409
    title = "Too many keys"


class LimitExceeded(Problem):
    """You have reached a rate limit."""

    type = "https://iana.org/assignments/http-problem-types#quota-exceeded"
    """Of draft-ietf-httpapi-ratelimit-headers, as are `violated-policies` and the header fields."""
    status = 429
    title = "Rate limit exceeded"


class DeadlineExceeded(Problem):
    """This took too long and was cancelled. Try again, with an Idempotency-Key if it must not be done twice."""

    status = 503
    title = "Deadline exceeded"
    always: ClassVar = {"Retry-After": "2"}


class InternalError(Problem):
    """This is our fault, and it has been logged."""

    status = 500
    title = "Internal error"


class Overloaded(Problem):
    """The gateway is overloaded. Try again in a moment."""

    status = 503
    title = "Overloaded"
    always: ClassVar = {"Retry-After": "1"}


class ServiceUnavailable(Problem):
    """A server that this needs is unavailable. Try again, with an Idempotency-Key if it must not be done twice."""

    status = 503
    title = "Service unavailable"
    always: ClassVar = {"Retry-After": "2"}


class StorageUnavailable(Problem):
    """Files cannot be stored or read now. Nothing was accepted; try again."""

    status = 503
    title = "Storage unavailable"
    always: ClassVar = {"Retry-After": "5"}


def invalid_fields(error: ValidationError, *, within: str, document: Any = None) -> Invalid:
    """The first of the invalid fields of `within` as one problem. `document`: see `field_errors`."""
    number, fields = field_errors(error, within=within, document=document)
    if number > len(fields):
        return Invalid(f"{number} fields are invalid. These are the first.", errors=fields)
    return Invalid(errors=fields)


FORESEEN = (Problem, HTTPException, OtherRequest, Unavailable, ClientDisconnect)
"""The errors that a request may raise without a bug in the code."""


class Asked(NamedTuple):
    """The request that a problem answers: its id, and what comes before the paths that its caller is told."""

    request_id: str
    base: str


def response_to(error: Exception, asked: Asked | None = None) -> Response:
    """The response for an error of a FORESEEN type."""
    if isinstance(error, Problem):
        return render(error, asked)
    if isinstance(error, HTTPException):  # raised by Starlette: no such path, wrong method
        problem = {404: NotFound, 405: MethodNotAllowed}.get(error.status_code, InternalError)
        return render(problem(headers=dict(error.headers or {})), asked)
    if isinstance(error, OtherRequest):
        return render(IdempotencyMismatch(), asked)
    if isinstance(error, ClientDisconnect):  # nobody reads this; the request log shows 499
        return Response(status_code=499)
    if isinstance(error, errors.StorageUnavailable):  # blobs.py logs it
        return render(StorageUnavailable(), asked)
    logger.warning("request.unavailable", error=str(error))  # a server behind us is away
    return render(ServiceUnavailable(), asked)


def anchor(problem: type[Problem]) -> str:
    """Where on the page /docs a problem class is explained (http/docs_page.py)."""
    return f"problem-{code_of(problem).replace('_', '-')}"


def doc_url(problem: type[Problem], base: str) -> str:
    """Where a problem class is explained."""
    return f"{base}/docs#{anchor(problem)}"


def render(problem: Problem, asked: Asked | None = None) -> Response:
    """The response with `problem` as JSON."""
    document = {
        "type": problem.type,
        "code": problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": str(problem),
        **problem.members,
    }
    if asked is not None:
        document |= {"request_id": asked.request_id, "doc_url": doc_url(type(problem), asked.base)}
    return Response(
        redacted(encoded(document)),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )
