"""Opportunities that fit a text: by the rarest of its words, because common ones say nothing about it.

How common a word is, is counted among the tenant's newest opportunities. Words that none of these has are left
out: a text has many that occur nowhere.
"""

from collections.abc import Sequence
from typing import Any

from libs.common.contracts.ids import public_id
from libs.common.contracts.opportunities import WORDS_MATCHED, Match, OpportunityFilter
from libs.common.db import Connection, Database, fetch_within
from services.sync.opportunities import KIND, read, source_names, with_sources
from services.sync.searching import carefully, filtered, rank

SAMPLE = 2_000
"""Opportunities of each language among which words are counted."""

Document = dict[str, Any]

_RAREST = f"""
WITH languages AS (SELECT DISTINCT spec ->> 'language' AS language FROM sync.sources),
words AS MATERIALIZED (
  SELECT language, lexeme AS word FROM languages, unnest(to_tsvector(language::regconfig, $1))
  WHERE language ~ '^[a-z_]+$'),
counted AS (
  SELECT l.language, word, row_number() OVER (PARTITION BY l.language ORDER BY ndoc, word) AS place
  FROM (SELECT DISTINCT language FROM words) l,
    ts_stat(format('SELECT search FROM sync.opportunities WHERE language = %L::regconfig'
      ' ORDER BY created_at DESC, id DESC LIMIT {SAMPLE}', l.language))
    JOIN words USING (word)
  WHERE words.language = l.language)
SELECT language, array_agg(word ORDER BY place) FROM counted WHERE place <= {WORDS_MATCHED} GROUP BY language
"""  # noqa: S608 - made of constants
_MATCHED = """
SELECT o.id, array(SELECT u.lexeme FROM unnest(o.search) u WHERE u.lexeme = ANY($2::text[]) ORDER BY 1)
FROM sync.opportunities o WHERE o.id = ANY($1::uuid[])
"""


async def match(database: Database, tenant: str, asked: Match) -> Document:
    """What fits, the best first, and the words by which it does. Raises SearchTooSlow, Unavailable."""
    async with carefully(database) as connection:
        async with database.as_tenant(connection, tenant):
            rarest = dict(await _rarest(connection, asked.text))
        queries = {language: _any_of(words) for language, words in rarest.items()}
        conditions = filtered(tenant, OpportunityFilter(status=asked.status), queries)
        found = await rank(connection, conditions, queries, None, asked.limit)
        async with database.as_tenant(connection, tenant):
            documents = await read(connection, found.ids, ())
            names = await source_names(connection, {document["source"] for document in documents})
            every_word = sorted({word for words in rarest.values() for word in words})
            matched = await fetch_within(connection, _MATCHED, found.ids, every_word)
    words_of = {public_id(row[0], KIND): row[1] for row in matched}
    fitting = [document | {"words": words_of[document["id"]]} for document in with_sources(documents, names)]
    return {"method": "words", "opportunities": fitting}


async def _rarest(connection: Connection, text: str) -> list[tuple[str, list[str]]]:
    """The rarest words of `text` by language, as they are indexed; as the tenant of this transaction."""
    return [(row[0], row[1]) for row in await fetch_within(connection, _RAREST, text)]


def _any_of(words: Sequence[str]) -> str:
    """A tsquery that is met by each of `words`."""
    return " | ".join("'" + word.replace("\\", "\\\\").replace("'", "''") + "'" for word in words)
