"""What the gateway asks the sync worker about opportunities, and what it is told.

RPC, as `call(bus, "sync", name, tenant, request)`:

search            Search → {"opportunities", "facets", "exact", "next_cursor"}
get_opportunity   {"id"} → the opportunity, with all its fields
match             Match → {"method", "opportunities"}
list_changes      {"after": cursor or None, "limit"} → {"changes", "next_after"}
list_history      {"id", "after": ChangePosition or None, "limit"} → {"changes", "next_after"}

Errors of RPC are `not_found`, `cursor_invalid`, `changes_forgotten` and `search_too_slow`.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from libs.common.contracts.moments import Moment
from libs.common.contracts.sync import SourceName
from libs.common.contracts.whole_numbers import WHOLE

VALUES_AT_MOST = 20
"""Of one filter."""
WORDS_CHARACTERS_AT_MOST = 800
COUNTED_AT_MOST = 10_000
"""So many hits are ranked, and counted by facets; beyond them an answer is not exact."""
FACET_VALUES_AT_MOST = 50
SHORT_SUMMARY = 300
"""Characters of a summary in a list for which no fields were named."""
CURSOR_AT_MOST = 4_000
TEXT_AT_MOST = 20_000
WORDS_MATCHED = 24
"""The rarest words of a text, by which it is matched."""

Status = Literal["forecasted", "open", "closed", "gone"]
"""Derived when it is read: `gone` is what the source no longer lists, `closed` what has closed."""
STATUS = """
CASE WHEN {o}gone_at IS NOT NULL THEN 'gone'
  WHEN {o}closes_at <= now() OR lower({o}status_said) = 'closed' THEN 'closed'
  WHEN {o}opens_at > now() OR lower({o}status_said) = 'forecasted' THEN 'forecasted'
  ELSE 'open' END
"""
"""How it is derived from a row of sync.opportunities, in SQL; `{o}` is the row's alias with its dot, or nothing.
Nobody has to close anything: it follows from the dates, and from what the source says."""
Order = Literal["closes", "newest", "relevance"]
Facet = Literal["status", "source", "agency"]
ListField = Literal[
    "title", "summary", "status", "opens_at", "closes_at", "closes_on", "agency", "amount", "url", "source",
    "revision", "extra", "status_said", "created_at", "changed_at", "gone_at",
]  # fmt: skip
SHOWN: tuple[ListField, ...] = (
    "title", "summary", "status", "closes_at", "closes_on", "agency", "amount", "url", "source", "revision",
)  # fmt: skip
"""The fields in a list for which none were named."""
ChangePosition = Annotated[str, Field(pattern=r"^[0-9]{1,19}-[0-9]{1,9}$")]
"""Of a change: the transaction that wrote it, and its number there."""
ALL_FIELDS: tuple[ListField, ...] = get_args(ListField)


FOLLOWED_FIELDS: tuple[ListField, ...] = ("title", "url", "agency", "closes_on")
"""The fields that reminders of an opportunity have as variables."""


def _split(given: Any) -> Any:
    """The values of a list, also where a query has them in one text with commas."""
    if isinstance(given, (list, tuple)) and all(isinstance(value, str) for value in given):
        return tuple(part for value in given for part in value.split(","))
    return given


Split = BeforeValidator(_split)
AtMost = Field(max_length=VALUES_AT_MOST)


class OpportunityFilter(BaseModel):
    """Which opportunities are meant: those that have one of the values of every filter that is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    q: Annotated[str, Field(max_length=WORDS_CHARACTERS_AT_MOST)] = ""
    """Words, as one types them into a search engine: `"rural water" -loan`. Title and summary are searched."""
    status: Annotated[tuple[Status, ...], AtMost, Split] = ()
    """Without it, all but those that are gone."""
    source: Annotated[tuple[SourceName, ...], AtMost, Split] = ()
    agency: Annotated[tuple[Annotated[str, Field(max_length=1_000)], ...], AtMost] = ()
    """As it is written, so with commas: several are several parameters."""
    closes_before: Moment | None = None
    closes_after: Moment | None = None
    amount_min: Annotated[float, Field(ge=0, le=1e15)] | None = None
    """Those that may give as much as this, in their own currency."""
    changed_after: Moment | None = None


class Search(OpportunityFilter):
    """A page of a search."""

    order: Order = "closes"
    """`relevance` needs `q`, and ranks the newest 10,000 hits."""
    facets: Annotated[tuple[Facet, ...], AtMost, Split] = ()
    fields: Annotated[tuple[ListField, ...], AtMost, Split] = ()
    """Which fields are shown, beside `id`. Without it, the usual ones, and the beginning of the summary."""
    cursor: Annotated[str, Field(max_length=CURSOR_AT_MOST)] | None = None
    """`next_cursor` of the page before, with the same filters and order."""
    limit: Annotated[int, Field(ge=1, le=100), WHOLE] = 50

    @model_validator(mode="after")
    def _can_be_ordered(self) -> Self:
        if self.order == "relevance" and not self.q.strip():
            raise ValueError("`relevance` needs `q`.")
        return self


class Match(BaseModel):
    """A text, such as what somebody does, for which opportunities are wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[str, Field(min_length=1, max_length=TEXT_AT_MOST)]
    status: Annotated[tuple[Status, ...], Field(min_length=1, max_length=VALUES_AT_MOST)] = ("forecasted", "open")
    limit: Annotated[int, Field(ge=1, le=100), WHOLE] = 20
