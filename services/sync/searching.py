"""Searching opportunities: found as the service, read as the tenant.

`@@` is not leakproof, so under row-level security PostgreSQL must not use the index of words: as the tenant, two
words among 140,000 rows took a thousand times as long. So ids are found as the service, here and nowhere else, and
what is shown is read by id under row-level security: a mistake in a filter shows nothing of anybody else. Every
plan is made for the values at hand, because one that is kept for any word may walk the index of dates.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from libs.common import metrics
from libs.common.contracts.ids import public_id
from libs.common.contracts.opportunities import (
    COUNTED_AT_MOST,
    FACET_VALUES_AT_MOST,
    Facet,
    OpportunityFilter,
    Order,
    Search,
)
from libs.common.db import Connection, Database, fetch_within
from libs.common.db_pool import cause_of
from libs.common.errors import Unavailable
from libs.common.rpc import fitting
from services.sync.cursors import Cursors
from services.sync.opportunities import CLOSES, KIND, STATUS, read, source_names, with_sources
from services.sync.refusals import SearchTooSlow

WITHIN_S = 2.0
"""Of each statement."""

Document = dict[str, Any]

_CAREFULLY = f"""
SELECT set_config('plan_cache_mode', 'force_custom_plan', true),
  set_config('statement_timeout', '{WITHIN_S * 1000:.0f}', true)
"""
_QUERIES = """
SELECT language, websearch_to_tsquery(language::regconfig, $2)::text FROM (
  SELECT DISTINCT spec ->> 'language' AS language FROM sync.sources WHERE tenant = $1) languages
WHERE language ~ '^[a-z_]+$'
"""
Queries = Mapping[str, str]
"""A tsquery by the language of the rows for which it is meant. Rows of other languages do not match."""


@dataclass(frozen=True, slots=True)
class _Ordering:
    """The value by which an order sorts, before the id: the type that a cursor has it in, and the direction."""

    value: str
    type: str
    descending: bool

    @property
    def by(self) -> str:
        """As ORDER BY has it."""
        return f"{self.value} DESC, id DESC" if self.descending else f"{self.value}, id"


_ORDERS: dict[Order, _Ordering] = {
    "closes": _Ordering(CLOSES, "timestamptz", descending=False),
    "newest": _Ordering("o.created_at", "timestamptz", descending=True),
    "relevance": _Ordering("rank", "float4", descending=True),
}
_FACETS: dict[Facet, str] = {"status": STATUS, "source": "o.source::text", "agency": "o.agency"}


class Conditions:
    """Conditions with bound values: no word of a caller reaches the text of a statement."""

    def __init__(self, tenant: str) -> None:
        self.values: list[object] = []
        self._all = [f"o.tenant = {self.bind(tenant)}"]

    def bind(self, value: object) -> str:
        """The parameter that stands for `value`."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str) -> None:
        """Ask for this too."""
        self._all.append(condition)

    @property
    def text(self) -> str:
        """All of them."""
        return " AND ".join(f"({condition})" for condition in self._all)


@dataclass(frozen=True, slots=True)
class Found:
    """Ids in order, each with its sort value as text; and whether every hit was looked at."""

    ids: list[UUID]
    values: list[str]
    exact: bool


@asynccontextmanager
async def carefully(database: Database) -> AsyncIterator[Connection]:
    """A transaction as the service in which statements have WITHIN_S. Raises SearchTooSlow, Unavailable."""
    try:
        async with database.begin() as connection:
            await fetch_within(connection, _CAREFULLY)
            yield connection
    except Unavailable as error:
        if error.__cause__ is not None and isinstance(cause_of(error.__cause__), asyncpg.QueryCanceledError):
            raise SearchTooSlow from error
        raise


async def search(database: Database, tenant: str, asked: Search, cursors: Cursors) -> Document:
    """A page of what `asked` finds, with its facets. Raises CursorInvalid, SearchTooSlow, Unavailable."""
    question = _question(tenant, asked)
    after = None if asked.cursor is None else cursors.read(question, asked.cursor)
    with metrics.search_seconds.labels(asked.order).time():
        async with carefully(database) as connection:
            queries = await queries_of(connection, tenant, asked.q) if asked.q.strip() else None
            found = await find(connection, tenant, asked, queries, after)
            hits = await _hits(connection, tenant, asked, queries) if asked.facets else []
            async with database.as_tenant(connection, tenant):
                documents = await read(connection, found.ids[: asked.limit], asked.fields)
                facets = await count(connection, hits[:COUNTED_AT_MOST], asked.facets)
                of_facets = [UUID(id_) for id_ in facets.get("source", ())]
                names = await source_names(connection, [*_sources(documents), *of_facets])
    if "source" in facets:
        by_id = facets["source"].items()
        facets["source"] = {names[UUID(id_)]: number for id_, number in by_id if UUID(id_) in names}
    exact = found.exact and len(hits) <= COUNTED_AT_MOST
    page = _page(asked, found, with_sources(documents, names), question, cursors)
    return page | {"facets": facets, "exact": exact}


async def queries_of(connection: Connection, tenant: str, words: str) -> Queries:
    """What a caller types, as tsqueries in the languages of the tenant's sources."""
    return {row[0]: row[1] for row in await fetch_within(connection, _QUERIES, tenant, words)}


async def find(
    connection: Connection, tenant: str, asked: Search, queries: Queries | None, after: Sequence[str] | None
) -> Found:
    """Ids of what `asked` finds, one more than asked for, behind the sort value and the id in `after`."""
    conditions = filtered(tenant, asked, queries)
    if asked.order == "relevance":
        return await rank(connection, conditions, queries or {}, after, asked.limit + 1)
    ordering = _ORDERS[asked.order]
    if after is not None:
        conditions.add(_behind(conditions, ordering, after))
    statement = f"""
SELECT o.id, ({ordering.value})::text FROM sync.opportunities o WHERE {conditions.text}
ORDER BY {ordering.by} LIMIT {conditions.bind(asked.limit + 1)}::int
"""  # noqa: S608 - made of constants; values are bound
    rows = await fetch_within(connection, statement, *conditions.values)
    return Found([row[0] for row in rows], [row[1] for row in rows], exact=True)


async def among(
    connection: Connection, tenant: str, asked: OpportunityFilter, queries: Queries | None, ids: Sequence[UUID]
) -> list[tuple[UUID, datetime | None]]:
    """Those of `ids` that a filter means, and when each closes."""
    conditions = filtered(tenant, asked, queries)
    conditions.add(f"o.id = ANY({conditions.bind(list(ids))}::uuid[])")
    statement = f"SELECT o.id, o.closes_at FROM sync.opportunities o WHERE {conditions.text}"  # noqa: S608
    return [(row[0], row[1]) for row in await fetch_within(connection, statement, *conditions.values)]


async def rank(
    connection: Connection, conditions: Conditions, queries: Queries, after: Sequence[str] | None, limit: int
) -> Found:
    """The newest COUNTED_AT_MOST hits by how well they fit."""
    cases = [f"WHEN {_quoted(name)} THEN {_query(conditions, query)}" for name, query in queries.items()]
    fit = f"ts_rank_cd(o.search, CASE o.language {' '.join(cases)} END)" if cases else "0::float4"
    hits = f"""
SELECT o.id, o.search, o.language FROM sync.opportunities o WHERE {conditions.text}
ORDER BY {_ORDERS["newest"].by} LIMIT {COUNTED_AT_MOST + 1}
"""  # noqa: S608
    behind = "true" if after is None else _behind(conditions, _ORDERS["relevance"], after)
    statement = f"""
WITH hits AS MATERIALIZED ({hits}), ranked AS (SELECT o.id, {fit} AS rank FROM hits o)
SELECT id, rank::text, (SELECT count(*) FROM hits) FROM ranked WHERE {behind}
ORDER BY {_ORDERS["relevance"].by} LIMIT {conditions.bind(limit)}::int
"""  # noqa: S608
    rows = await fetch_within(connection, statement, *conditions.values)
    exact = not rows or rows[0][2] <= COUNTED_AT_MOST
    return Found([row[0] for row in rows], [row[1] for row in rows], exact)


def filtered(tenant: str, asked: OpportunityFilter, queries: Queries | None) -> Conditions:
    """The conditions of a filter, in which opportunities are called `o`. Its words are in `queries`, if any."""
    conditions = Conditions(tenant)
    bind, add = conditions.bind, conditions.add
    if queries is not None:
        each = [
            f"o.language = {_quoted(name)} AND o.search @@ {_query(conditions, query)}"
            for name, query in queries.items()
        ]
        add(" OR ".join(each) or "false")
    _add_status(conditions, asked.status)
    if asked.source:
        named = f"s.name = ANY({bind(list(asked.source))}::text[])"
        of_tenant = f"SELECT s.id FROM sync.sources s WHERE s.tenant = o.tenant AND {named}"  # noqa: S608 - bound
        add(f"o.source IN ({of_tenant})")
    if asked.agency:
        add(f"o.agency = ANY({bind(list(asked.agency))}::text[])")
    if asked.closes_before is not None:
        add(f"{CLOSES} < {bind(asked.closes_before)}::timestamptz")
    if asked.closes_after is not None:
        add(f"{CLOSES} > {bind(asked.closes_after)}::timestamptz")
    if asked.amount_min is not None:
        add(f"coalesce(o.amount_max, o.amount_min) >= {bind(str(asked.amount_min))}::text::numeric")
    if asked.changed_after is not None:
        add(f"o.changed_at > {bind(asked.changed_after)}::timestamptz")
    return conditions


def _add_status(conditions: Conditions, wanted: Sequence[str]) -> None:
    if not wanted:
        conditions.add("o.gone_at IS NULL")
        return
    conditions.add(f"({STATUS}) = ANY({conditions.bind(list(wanted))}::text[])")
    if not {"closed", "gone"} & set(wanted):
        conditions.add(f"{CLOSES} > now()")  # follows from the status, and has an index


def _query(conditions: Conditions, query: str) -> str:
    return f"{conditions.bind(query)}::text::tsquery"


def _quoted(language: str) -> str:
    """A text search configuration as a constant. It is one of PostgreSQL's: letters and `_`."""
    return f"'{language}'::regconfig"


def _behind(conditions: Conditions, ordering: _Ordering, after: Sequence[str]) -> str:
    value, id_ = after
    sign = "<" if ordering.descending else ">"
    key = f"{conditions.bind(value)}::text::{ordering.type}, {conditions.bind(id_)}::text::uuid"
    return f"({ordering.value}, id) {sign} ({key})"


async def _hits(
    connection: Connection, tenant: str, asked: OpportunityFilter, queries: Queries | None
) -> list[UUID]:
    """The ids of all hits, or of one more than COUNTED_AT_MOST."""
    conditions = filtered(tenant, asked, queries)
    statement = f"""
SELECT o.id FROM sync.opportunities o WHERE {conditions.text} LIMIT {COUNTED_AT_MOST + 1}
"""  # noqa: S608
    return [row[0] for row in await fetch_within(connection, statement, *conditions.values)]


async def count(connection: Connection, ids: Sequence[UUID], facets: Sequence[Facet]) -> dict[str, dict[str, int]]:
    """How many of `ids` have each value of `facets`, the commonest first; as the tenant of this transaction."""
    names = list(dict.fromkeys(facets))
    if not names:
        return {}
    columns = ", ".join(f"{_FACETS[name]} AS {name}" for name in names)
    by, each = ", ".join(names), ", ".join(f"({name})" for name in names)
    statement = f"""
WITH hits AS (SELECT {columns} FROM sync.opportunities o WHERE o.id = ANY($1::uuid[])),
counted AS (SELECT grouping({by}) AS of, coalesce({by}) AS value, count(*) AS hits FROM hits
  GROUP BY GROUPING SETS ({each})),
ranked AS (SELECT *, row_number() OVER (PARTITION BY of ORDER BY hits DESC, value) AS place FROM counted
  WHERE value IS NOT NULL)
SELECT of, value, hits FROM ranked WHERE place <= {FACET_VALUES_AT_MOST} ORDER BY of, place
"""  # noqa: S608
    rows = await fetch_within(connection, statement, ids)
    grouped = {name: (1 << len(names)) - 1 - (1 << (len(names) - 1 - place)) for place, name in enumerate(names)}
    return {name: {value: hits for of, value, hits in rows if of == grouped[name]} for name in names}


def _sources(documents: Sequence[Document]) -> list[UUID]:
    return [document["source"] for document in documents if "source" in document]


def _page(asked: Search, found: Found, documents: list[Document], question: bytes, cursors: Cursors) -> Document:
    """As much as fits into an answer. The cursor names the last one that is shown, and nothing that is not."""
    shown = documents[: fitting(documents)]
    cursor = None
    if shown and (len(shown) < len(documents) or len(found.ids) > asked.limit):
        last = next(n for n, id_ in enumerate(found.ids) if shown[-1]["id"] == public_id(id_, KIND))
        cursor = cursors.issue(question, [found.values[last], str(found.ids[last])])
    return {"opportunities": shown, "next_cursor": cursor}


def _question(tenant: str, asked: Search) -> bytes:
    """What a cursor belongs to: whose search it is, its filters and its order."""
    fields = {*OpportunityFilter.model_fields, "order"}
    return to_json([tenant, asked.model_dump(mode="json", include=fields)])
