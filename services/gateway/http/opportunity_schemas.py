"""As schemas.py, of what concerns opportunities."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from libs.common.contracts.moments import Told
from libs.common.contracts.opportunities import Status
from libs.common.contracts.searches import SavedFilter


class Amount(TypedDict):
    """What may be given, in `currency`."""

    min: float | None
    max: float | None
    currency: str | None


class Opportunity(TypedDict):
    """An opportunity, with the fields that were asked for. `closes_on`: the day, where the source gave no time.

    `status_said` is what the source says, `status` what follows from that and from the dates. `source` is null if
    the source has just been removed.
    """

    id: str
    title: NotRequired[str]
    summary: NotRequired[str]
    status: NotRequired[Status]
    opens_at: NotRequired[Told | None]
    closes_at: NotRequired[Told | None]
    closes_on: NotRequired[str | None]
    agency: NotRequired[str | None]
    amount: NotRequired[Amount]
    url: NotRequired[str | None]
    source: NotRequired[str | None]
    revision: NotRequired[int]
    extra: NotRequired[dict[str, Any]]
    status_said: NotRequired[str | None]
    created_at: NotRequired[Told]
    changed_at: NotRequired[Told]
    gone_at: NotRequired[Told | None]


class OpportunityWithRaw(Opportunity):
    """An opportunity with all fields. `raw` is the record as the source gave it."""

    raw: Any


class OpportunityPage(TypedDict):
    """A page of a search. `exact`: whether facets and ranking looked at all hits; otherwise at 10,000.

    `facets` has the number of hits by value, for the facets that were asked for. `next_cursor` is null on the last
    page.
    """

    opportunities: list[Opportunity]
    facets: dict[str, dict[str, int]]
    exact: bool
    next_cursor: str | None


class Change(TypedDict):
    """A change of an opportunity: what happened, by which run, and the fields that changed."""

    position: str
    what: str
    fields: dict[str, Any]
    run: str
    at: Told


class History(TypedDict):
    """A page of the changes of an opportunity, oldest first."""

    changes: list[Change]
    next_cursor: str | None


class ChangeOfOne(Change):
    """A change, and the opportunity that it is of."""

    opportunity: str


class ChangePage(TypedDict):
    """Changes in the order in which to apply them. `next_cursor` goes on behind them, also if there are none."""

    changes: list[ChangeOfOne]
    next_cursor: str


class Matched(Opportunity):
    """An opportunity, and the words by which it was found, as they are indexed."""

    words: list[str]


class Matches(TypedDict):
    """Opportunities that fit a text, the best first. `method`: by which means they were found."""

    method: Literal["words"]
    opportunities: list[Matched]


class ListedSavedSearch(TypedDict):
    """A saved search without its letter. `told_at`: when it last ran. `next`: when it runs next.

    `schedule` is what says when, and null if that was deleted; to put the search again makes it anew.
    """

    name: str
    filter: SavedFilter
    cron: str | None
    timezone: str | None
    next: list[Told]
    paused: bool
    schedule: str | None
    created_at: Told
    told_at: Told | None


class SavedSearch(ListedSavedSearch):
    """A saved search, with its letter as it can be put again."""

    letter: dict[str, Any]


class SavedSearches(TypedDict):
    """A page of saved searches by name."""

    searches: list[ListedSavedSearch]
    next_cursor: str | None
