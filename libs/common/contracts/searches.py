"""Saved searches: what the gateway and the sync worker say to each other of them.

RPC, as `call(bus, "sync", name, tenant, request)`:

put_search     SearchChange → SearchAnswer
get_search     {"name"} → SearchAnswer
list_searches  {"after": name or None, "limit"} → {"searches": [ListedSearch…], "next_after": name or None}
remove_search  {"name"} → {}

Errors of RPC are `not_found` and `too_many_searches` (put_search). When a search runs is a schedule of the ledger,
which has the id of the search; the job is a SearchPayload (sync.py).
"""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.mail import AddressedRecipient, Letter
from libs.common.contracts.moments import Told
from libs.common.contracts.opportunities import AtMost, OpportunityFilter, Split, Status

SEARCHES_AT_MOST = 500
"""Of one tenant."""
SEARCH_RECIPIENTS_AT_MOST = 100
"""Of one search: each has all hits among its variables."""
SEARCH_NAME = r"[a-z0-9][a-z0-9._-]{0,99}"
LISTED_AT_MOST = 50
"""Hits in one letter, those that close first; of the others it has the number."""
LISTED_BYTES_AT_MOST = 16 * 1024
"""Of the hits in one letter, as JSON: as for the variables of a deadline."""

SearchName = Annotated[str, Field(pattern=f"^{SEARCH_NAME}$")]


class SavedFilter(OpportunityFilter):
    """The words and filters of a saved search."""

    status: Annotated[tuple[Status, ...], Field(min_length=1), AtMost, Split] = ("forecasted", "open")
    """Others than in a search: nobody wants a letter of what has closed."""


class SearchChange(BaseModel):
    """A saved search as it is put. `letter` is a template, rendered for each of `recipients`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: SearchName
    filter: SavedFilter
    letter: Letter
    recipients: tuple[AddressedRecipient, ...]


class ListedSearch(BaseModel):
    """A saved search without its letter. `told_at`: when it last ran."""

    id: UUID
    name: str
    filter: SavedFilter
    created_at: Told
    told_at: Told | None


class SearchAnswer(ListedSearch):
    """A saved search as it is shown. `letter` is as it was put, with `recipients` by address."""

    letter: dict[str, Any]
