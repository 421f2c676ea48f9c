"""Tells the mailer of opportunities that have moved, in the transaction that moves them.

So a date and its reminders change together, and if the transaction is rolled back, neither does. Whether anybody
follows is the mailer's to know; of what is new nobody can follow yet.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from libs.common.contracts.ids import public_id
from libs.common.contracts.mail import Followed, MailPayload
from libs.common.contracts.opportunities import FOLLOWED_FIELDS
from libs.common.contracts.services import SYNC
from libs.common.db import Connection, as_service, fetch_within
from libs.common.ledger.jobs import new_id
from services.sync.opportunities import KIND, read
from services.sync.writing import Change

TELLING = frozenset({"closes_at", *FOLLOWED_FIELDS})
"""Fields of which the mailer is told when they change."""
_TELL = (
    """SELECT ledger."mailer:moved"(job => $1, tenant => $2, created_by => 'sync', payload => $3::text::jsonb)"""
)

Removed = tuple[UUID, int, Sequence[Any]]
"""The id and the revision of what was removed, and its FOLLOWED_FIELDS."""


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
    await _tell(connection, tenant, [_followed(document) for document in found])


async def tell_of_removed(connection: Connection, tenant: str, removed: Sequence[Removed]) -> None:
    """Have the deadlines that follow what has just been removed know that it is gone, in its transaction."""
    gone = [
        Followed(
            follows=public_id(id_, KIND),
            revision=revision + 1,
            due_at=None,
            variables=dict(zip(FOLLOWED_FIELDS, fields, strict=True)),
            is_gone=True,
        )
        for id_, revision, fields in removed
    ]
    if gone:
        await _tell(connection, tenant, gone)


async def _tell(connection: Connection, tenant: str, moved: Sequence[Followed]) -> None:
    payload = MailPayload(moved=tuple(moved)).model_dump_json(by_alias=True)
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
