"""RPC handlers for the gateway: recipients, templates, previews, suppressions, deadlines."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import ParamSpec, TypeVar
from uuid import UUID

from libs.common.contracts.mail import Followed, Letter, Recipient, StoredLetter
from libs.common.errors import Unavailable
from libs.common.rpc import Document, RpcHandler, page
from services.mailer import deadline_reminders, suppressions, templates
from services.mailer.compose import content
from services.mailer.handler import Deps
from services.mailer.recipient_tokens import Subscriber
from services.mailer.refusals import NotFound, TokenInvalid

P = ParamSpec("P")
T = TypeVar("T")

PREVIEW_WITHIN_S = 8.0
"""A little less than the gateway's own timeout."""

# A recipient that is still open when the letter's job has ended gets no mail, unless the job is retried. The table
# does not say so, therefore the state is derived here.
_STATE = """
CASE WHEN j.finished_at IS NULL OR r.state NOT IN ('queued', 'deferred', 'sending') THEN r.state
     WHEN r.state = 'sending' THEN 'unknown' ELSE 'cancelled' END
"""
_RECIPIENTS = f"""
SELECT * FROM (
  SELECT r.number, r.address, {_STATE} AS state, r.tries, r.doubts, r.code, r.enhanced, r.reply, r.due_at,
    r.sent_at, r.updated_at
  FROM mail.recipients r LEFT JOIN ledger.jobs j ON j.id = r.letter WHERE r.letter = $1 AND r.number > $2) found
WHERE $3::text IS NULL OR state = $3 ORDER BY number LIMIT $4
"""  # noqa: S608 - contains no input of a caller
_COUNTS = f"""
SELECT {_STATE}, count(*) FROM mail.recipients r LEFT JOIN ledger.jobs j ON j.id = r.letter
WHERE r.letter = $1 GROUP BY 1
"""  # noqa: S608


async def recipients(tenant: str, request: Document, deps: Deps) -> Document:
    """`letter` (hex), `after` (a number), `limit`, `state` or None → `recipients`, `next_after`, `counts`.

    Raises NotFound.
    """
    letter_id = UUID(hex=request["letter"])
    database = deps.database
    counts = await database.fetch(_COUNTS, letter_id, tenant=tenant)
    if not counts:
        raise NotFound
    rows = await database.fetch(
        _RECIPIENTS, letter_id, request["after"], request["state"], request["limit"], tenant=tenant
    )
    names = (
        "number",
        "to",
        "state",
        "tries",
        "possible_duplicates",
        "code",
        "enhanced_code",
        "reply",
        "due_at",
        "sent_at",
    )
    found = [dict(zip((*names, "updated_at"), row, strict=True)) for row in rows]
    return page("recipients", found, request["limit"]) | {"counts": {row[0]: row[1] for row in counts}}


async def preview(tenant: str, request: Document, deps: Deps) -> Document:
    """`letterhead`, `variables` → `subject`, `text`, `html`.

    Raises TemplateInvalid, TemplateMissing, Unavailable.
    """
    stored = StoredLetter.model_validate(request["letterhead"])
    letter = await templates.resolve(deps.database, tenant, stored.letter)
    stored = stored.model_copy(update={"letter": letter})
    return asdict(await _run_in_sandbox(deps, tenant, content.preview, stored, request["variables"]))


async def put_template(tenant: str, request: Document, deps: Deps) -> Document:
    """`name`, `subject`, `text`, `html` → the template, in its new version. Raises TemplateInvalid."""
    name = request.pop("name")
    letter = Letter.model_validate({"from": "nobody@example.com"} | request)
    await _run_in_sandbox(deps, tenant, content.check, StoredLetter(letter=letter, is_template=True))
    await templates.put(deps.database, tenant, name, **request)
    return await templates.get(deps.database, tenant, name)


async def _run_in_sandbox(
    deps: Deps, tenant: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run `function` in the sandbox. Raises Unavailable if there is no result before the gateway stops waiting."""
    try:
        async with asyncio.timeout(PREVIEW_WITHIN_S), deps.preview_slots.slot(tenant):
            return await deps.preview_slots.sandbox.run(function, *args, **kwargs)
    except TimeoutError as error:
        raise Unavailable("There are too many previews at once.") from error


async def get_template(tenant: str, request: Document, deps: Deps) -> Document:
    """`reference` → the template. Raises TemplateMissing."""
    return await templates.get(deps.database, tenant, request["reference"])


async def list_templates(tenant: str, request: Document, deps: Deps) -> Document:
    """`after` (a name), `limit` → `templates`, in their last versions and without texts; `next_after`."""
    found = await templates.page(deps.database, tenant, after=request["after"], limit=request["limit"])
    return page("templates", found, request["limit"], key="name")


async def unsubscribe(_tenant: str, request: Document, deps: Deps) -> Document:
    """`token` → {}. Suppresses the address that the link is about. Raises TokenInvalid, Unavailable."""
    await suppressions.suppress(deps.database, await _subscriber(request, deps), "unsubscribe")
    return {}


async def may_unsubscribe(_tenant: str, request: Document, deps: Deps) -> Document:
    """`token` → {} if `unsubscribe` would do it. Changes nothing. Raises TokenInvalid, Unavailable."""
    await _subscriber(request, deps)
    return {}


async def _subscriber(request: Document, deps: Deps) -> Subscriber:
    if deps.tokens is None:
        raise TokenInvalid
    named = deps.tokens.read_link(request["token"])
    if isinstance(named, Subscriber):
        return named
    found = await suppressions.find_subscriber(deps.database, *named)
    if found is None:
        raise TokenInvalid("The letter is no longer kept.")
    return found


async def list_suppressions(tenant: str, request: Document, deps: Deps) -> Document:
    """`after` (a number), `limit`, `address` or None → `suppressions`, oldest first; `next_after`."""
    found = await suppressions.page(
        deps.database, tenant, after=request["after"], limit=request["limit"], address=request["address"]
    )
    return page("suppressions", found, request["limit"])


async def add_suppressions(tenant: str, request: Document, deps: Deps) -> Document:
    """`addresses`, `reason`, `expires_at` or None → `added`: the number of new ones."""
    added = await suppressions.add(
        deps.database, tenant, request["addresses"], request["reason"], request["expires_at"]
    )
    return {"added": added}


async def remove_suppression(tenant: str, request: Document, deps: Deps) -> Document:
    """`address` → {}. Raises NotFound."""
    if not await suppressions.remove(deps.database, tenant, request["address"]):
        raise NotFound("This address is not suppressed.")
    return {}


async def put_deadline(tenant: str, request: Document, deps: Deps) -> Document:
    """`name`, `due_at` (ISO 8601), `variables`, `followers`, `keep_others`; or `followed` → the deadline.

    `followed` is a Followed, in place of `due_at` and `variables`. Raises TooManyFollowers.
    """
    # A gateway of the release before knows neither `followed` nor `keep_others`.
    followed = None if request.get("followed") is None else Followed.model_validate(request["followed"])
    keep_others = bool(request.get("keep_others"))
    name, variables = request["name"], request["variables"]
    due_at = None if request["due_at"] is None else datetime.fromisoformat(request["due_at"])
    if followed is not None:
        due_at, variables = followed.due_at, followed.variables
    followers = [Recipient.model_validate(follower) for follower in request["followers"]]
    await deadline_reminders.put(
        deps.database, tenant, name, due_at, variables, followers,
        followed=followed, keep_others=keep_others,
    )  # fmt: skip
    return await deadline_reminders.get(deps.database, tenant, name)


async def get_deadline(tenant: str, request: Document, deps: Deps) -> Document:
    """`name` → the deadline, with its followers. Raises NotFound."""
    return await deadline_reminders.get(deps.database, tenant, request["name"])


async def list_deadlines(tenant: str, request: Document, deps: Deps) -> Document:
    """`after` (a name), `limit` → `deadlines`, each with the number of its followers; `next_after`."""
    found = await deadline_reminders.page(deps.database, tenant, after=request["after"], limit=request["limit"])
    return page("deadlines", found, request["limit"], key="name")


async def remove_deadline(tenant: str, request: Document, deps: Deps) -> Document:
    """`name` → {}. Raises NotFound."""
    if not await deadline_reminders.remove(deps.database, tenant, request["name"]):
        raise NotFound("There is no such deadline.")
    return {}


HANDLERS: Mapping[str, RpcHandler[Deps]] = {
    "recipients": recipients,
    "preview": preview,
    "put_template": put_template,
    "get_template": get_template,
    "list_templates": list_templates,
    "unsubscribe": unsubscribe,
    "may_unsubscribe": may_unsubscribe,
    "list_suppressions": list_suppressions,
    "add_suppressions": add_suppressions,
    "remove_suppression": remove_suppression,
    "put_deadline": put_deadline,
    "get_deadline": get_deadline,
    "list_deadlines": list_deadlines,
    "remove_deadline": remove_deadline,
}
