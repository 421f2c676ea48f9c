"""What a search may ask for."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.contracts.opportunities import ALL_FIELDS, FOLLOWED_FIELDS, SHOWN, Match, Search


def test_a_list_may_have_commas_but_for_names_that_have_some() -> None:
    asked = Search.model_validate(
        {"status": ["open,closed"], "facets": ["status", "agency"], "agency": ["Port, of Argos"]}
    )
    assert asked.status == ("open", "closed")
    assert asked.facets == ("status", "agency")
    assert asked.agency == ("Port, of Argos",)


@pytest.mark.parametrize(
    "asked",
    [
        {"status": ["open,lost"]},
        {"status": "open"},
        {"order": "relevance"},
        {"order": "relevance", "q": "  "},
        {"amount_min": float("inf")},
        {"changed_after": "1969-01-01T00:00:00Z"},
        {"limit": 0},
        {"tenant": "another"},
    ],
)
def test_what_cannot_be_asked(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Search.model_validate(asked)


def test_a_search_survives_the_wire() -> None:
    asked = Search.model_validate(
        {"q": "wells", "status": ["open"], "closes_after": "2030-01-01T00:00:00+01:00", "amount_min": 0.5}
    )
    assert Search.model_validate(asked.model_dump(mode="json")) == asked


def test_fields_are_of_the_same_kind() -> None:
    assert {*SHOWN, *FOLLOWED_FIELDS} <= set(ALL_FIELDS)
    assert Match(text="wells").status == ("forecasted", "open")
