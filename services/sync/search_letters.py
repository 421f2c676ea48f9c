"""Letters of what is new to saved searches: each opportunity is told once, however often a job runs.

What is new are the insertions in the feed of changes behind the place that the search has come to. The place moves
in the transaction that makes the letter, which is a job of the mailer: so either both have happened or neither. An
opportunity is inserted once, so no other list of what was told is needed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import nsmallest
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from libs.common.contracts.ids import public_id
from libs.common.contracts.json_documents import encoded
from libs.common.contracts.mail import MailPayload
from libs.common.contracts.opportunities import ListField
from libs.common.contracts.searches import LISTED_AT_MOST, LISTED_BYTES_AT_MOST
from libs.common.contracts.sync import SearchPayload, SyncPayload
from libs.common.db import Connection, Database, fetch_within
from libs.common.ledger.jobs import new_id
from libs.common.worker.job import Done, Job
from services.sync import changes, searches
from services.sync.opportunities import read, source_names, with_sources
from services.sync.searches import Addressed, Position, SavedSearch
from services.sync.searching import among, carefully, queries_of

AT_ONCE = 10_000
"""Changes that one step looks at."""
FIELDS: tuple[ListField, ...] = ("title", "status", "closes_at", "closes_on", "agency", "amount", "url", "source")
"""Of each opportunity in a letter, beside `id`."""
# Whoever saved the search, or let it run, is who sends the letter.
_ENQUEUE = """
SELECT ledger."mailer:letter"(
  $1::uuid, $2, (SELECT created_by FROM ledger.jobs WHERE id = $3::uuid), $4::text::jsonb)
"""

Document = dict[str, Any]
Hit = tuple[datetime, UUID]
"""When an opportunity closes, and its id."""


@dataclass(frozen=True, slots=True)
class News:
    """What is new to a search: how many, those that close first, and up to where it was looked for."""

    number: int
    listed: list[Document]
    told: Position


async def write(job: Job[SyncPayload], payload: SearchPayload, database: Database) -> Done:
    """Write a letter of what is new to a search; none if nothing is. Raises SearchTooSlow, Unavailable."""
    search = await searches.load(database, job.tenant, payload.search)
    if search is None:
        return Done({"new": 0, "letter": None, "skipped": "removed"})
    news = await _news(database, job.tenant, search)

    async def effects(connection: Connection) -> Document:
        async with database.as_tenant(connection, job.tenant):
            addressed = await searches.move(connection, job.tenant, search, news.told)
        if addressed is None:  # the next run sees what has become of it
            return {"new": 0, "skipped": "changed"}
        if not news.number:
            return {}
        letter = await _enqueue(connection, job, _letter(search, addressed, news))
        return {"letter": public_id(letter)}

    return Done({"new": news.number, "letter": None}, effects=effects)


async def _news(database: Database, tenant: str, search: SavedSearch) -> News:
    async with carefully(database) as connection:
        until = await changes.horizon(connection)
        queries = await queries_of(connection, tenant, search.filter.q) if search.filter.q.strip() else None
        number, first, told, is_last = 0, list[Hit](), search.told, False
        while not is_last:
            inserted, told, is_last = await changes.inserted(connection, tenant, told, until, AT_ONCE)
            hits = await among(connection, tenant, search.filter, queries, inserted) if inserted else []
            number += len(hits)
            first = nsmallest(LISTED_AT_MOST, [*first, *_by_closing(hits)])
        async with database.as_tenant(connection, tenant):
            found = await read(connection, [id_ for _, id_ in first], FIELDS)
            names = await source_names(connection, {document["source"] for document in found})
    return News(number, _as_fit(with_sources(found, names)), told)


def _by_closing(hits: Iterable[tuple[UUID, datetime | None]]) -> list[Hit]:
    """What never closes comes last."""
    return [(closes_at or datetime.max.replace(tzinfo=UTC), id_) for id_, closes_at in hits]


def _as_fit(documents: Sequence[Document]) -> list[Document]:
    """As many as have LISTED_BYTES_AT_MOST together."""
    fitting, size = list[Document](), 0
    for document in documents:
        told = encoded(document)
        size += len(told)
        if size > LISTED_BYTES_AT_MOST:
            break
        fitting.append(from_json(told))
    return fitting


def _letter(search: SavedSearch, addressed: Addressed, news: News) -> MailPayload:
    variables = {
        "search": search.name,
        "new": news.number,
        "more": news.number - len(news.listed),
        "opportunities": news.listed,
    }
    recipients = tuple(
        one.model_copy(update={"variables": one.variables | variables}) for one in addressed.recipients
    )
    return MailPayload(letter=addressed.letter, recipients=recipients, is_template=True)


async def _enqueue(connection: Connection, job: Job[SyncPayload], letter: MailPayload) -> UUID:
    """Make the mailer's job, if the transaction commits, and return its id."""
    id_, text = new_id(), letter.model_dump_json(by_alias=True)
    await fetch_within(connection, _ENQUEUE, id_, job.tenant, job.id, text)
    return id_
