"""/v1/mail: submit letters as jobs, list their recipients' states, unsubscribe by link."""

from collections.abc import AsyncIterator
from functools import partial
from importlib import resources
from string import Template
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from libs.common.blobs import CHUNK, Blobs, job_folder
from libs.common.contracts.ids import parse_id
from libs.common.ledger import retention
from libs.common.ledger.jobs import new_id
from services.gateway.endpoints.letters import AddressedLetter, attachment_key, read_letter
from services.gateway.endpoints.recurrence import Recurrence
from services.gateway.endpoints.service_client import NumberPageQuery, call_service, page_of_service
from services.gateway.endpoints.submission import Committed, JobFields, commit, new_job, respond
from services.gateway.http.admission import caller
from services.gateway.http.json_io import BODY_BYTES_AT_MOST, json_response, parse_in_turn, read_body, read_query
from services.gateway.http.large_bodies import RoomForBody
from services.gateway.http.state import state_of
from services.gateway.identity.scopes import Principal
from services.gateway.problems import IdempotencyMismatch, Invalid, NotFound, invalid_fields

_PAGE = Template(resources.files(__package__).joinpath("unsubscribe.html").read_text())


NUMBER_AT_MOST = 2**31 - 1
"""Recipients of a letter are numbered from 0."""
State = Literal["queued", "sending", "sent", "deferred", "bounced", "suppressed", "unknown", "cancelled"]


class RecipientListQuery(NumberPageQuery):
    """The query of GET /v1/mail/{id}/recipients."""

    state: State | None = None


async def submit_mail(request: Request) -> Response:
    """Send a letter to some recipients, or a template to many. Every recipient has a state of its own."""
    return await respond(request, await _commit_letter(request))


async def _commit_letter(request: Request) -> Committed:
    """Read the letter and commit its job. When this returns, nothing large is left in memory."""
    state, principal = state_of(request), caller(request)
    job_id = new_id()
    folder = job_folder(principal.tenant, job_id)
    async with RoomForBody(request) as room:
        body = await read_body(request, room, at_most=state.settings.gateway_max_mail_bytes)
        if len(body) > BODY_BYTES_AT_MOST:
            letter = await state.reading_processes.run(read_letter, body, folder)
        else:
            letter = await parse_in_turn(partial(read_letter, body, folder), len(body))
        del body
        if letter.files:
            await retention.announce_upload(state.database, job_id, folder)
            await _store(state.blobs, folder, letter.files)
        try:
            job = new_job(
                request, principal, JobFields.model_validate_json(letter.fields),
                job_id=job_id, queue="mailer", kind="letter", payload=letter.payload,
                fingerprint=letter.fingerprint, size=sum(map(len, letter.files)),
            )  # fmt: skip
            return await commit(request, job)
        except (Invalid, IdempotencyMismatch):
            await state.blobs.discard(folder)
            raise


async def recurring_letter(
    _request: Request, _principal: Principal, _folder: str, payload: dict[str, Any]
) -> Recurrence:
    """A recurring letter. Raises Invalid."""
    try:
        letter = AddressedLetter.model_validate_json(to_json(payload), strict=True)
    except ValidationError as error:
        raise invalid_fields(error, within="body.payload") from error
    return Recurrence("letter", letter.payload().model_dump_json(by_alias=True).encode())


async def list_recipients(request: Request) -> Response:
    """The recipients of a letter in order, with the state of each, and the number in each state."""
    wanted = read_query(request, RecipientListQuery)
    job_id = parse_id(request.path_params["id"])
    if job_id is None:
        raise NotFound("There is no such letter.")
    after = -1 if wanted.after is None else min(wanted.after, NUMBER_AT_MOST)
    query = {"letter": job_id.hex, "after": after, "limit": wanted.limit, "state": wanted.state}
    return json_response(await page_of_service(request, "mailer", "recipients", query))


async def show_unsubscribe(request: Request) -> Response:
    """The page behind a letter's unsubscribe link: a button. GET changes nothing, as mail scanners open links."""
    await call_service(request, "mailer", "may_unsubscribe", {"token": request.path_params["token"]}, tenant="")
    return HTMLResponse(_PAGE.substitute(done="hidden", ask=""))


async def unsubscribe(request: Request) -> Response:
    """Unsubscribe with one click (RFC 8058): the address in the token gets no more mail from the tenant."""
    await call_service(request, "mailer", "unsubscribe", {"token": request.path_params["token"]}, tenant="")
    return HTMLResponse(_PAGE.substitute(done="", ask="hidden"))


async def _store(blobs: Blobs, folder: str, files: tuple[bytes, ...]) -> None:
    """Store the attachments. Raises StorageUnavailable, and leaves none."""
    try:
        for number, content in enumerate(files):
            await blobs.write(attachment_key(folder, number), _in_pieces(content))
    except BaseException:
        await blobs.discard(folder)
        raise


async def _in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK):
        yield content[start : start + CHUNK]
