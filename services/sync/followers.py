"""Tells the mailer of opportunities that have moved, in the transaction that moves them.

So a date and its reminders change together, and if the transaction is rolled back, neither does. Whether anybody
follows is the mailer's to know; of what is new nobody can follow yet.
"""

from collections.abc import Sequence

from libs.common.contracts.mail import Followed, MailPayload
from libs.common.contracts.opportunities import FOLLOWED_FIELDS
from libs.common.contracts.services import SYNC
from libs.common.db import Connection, as_service, fetch_within
from libs.common.ledger.jobs import new_id
from services.sync.opportunities import read
from services.sync.writing import Change

TELLING = frozenset({"closes_at", *FOLLOWED_FIELDS})
"""Fields of which the mailer is told when they change."""
_TELL = (
    """SELECT ledger."mailer:moved"(job => $1, tenant => $2, created_by => 'sync', payload => $3::text::jsonb)"""
)


async def tell_followers(connection: Connection, tenant: str, changes: Sequence[Change]) -> None:
    """Have the deadlines that follow these opportunities moved, in a transaction that works as `tenant`."""
    moved = [
        change.opportunity
        for change in changes
        if change.what in ("gone", "returned") or TELLING & change.fields.keys()
    ]
    if not moved:
        return
    found = await read(connection, moved, ("closes_at", "gone_at", "revision", *FOLLOWED_FIELDS))
    payload = MailPayload(moved=tuple(_followed(document) for document in found)).model_dump_json(by_alias=True)
    async with as_service(connection, SYNC.role, tenant):
        await fetch_within(connection, _TELL, new_id(), tenant, payload)


def _followed(document: dict[str, object]) -> Followed:
    is_gone = document["gone_at"] is not None
    return Followed.model_validate(
        {
            "follows": document["id"],
            "revision": document["revision"],
            "due_at": None if is_gone else document["closes_at"],
            "variables": {name: document[name] for name in FOLLOWED_FIELDS},
            "is_gone": is_gone,
        }
    )
