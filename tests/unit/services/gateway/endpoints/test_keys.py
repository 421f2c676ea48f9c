"""What a new key may be called, and how long an old one may live on."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.gateway.endpoints.keys import KeyRotation, NewKey, _key_id
from services.gateway.identity.scopes import Role
from services.gateway.problems import NotFound


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\nb"},
        {"name": "web", "scopes": []},
        {"name": "web", "scopes": ["everything"]},
        {"name": "web", "role": "operator"},
        {"name": "web", "expires_at": "2030-01-01T00:00:00"},
        {"name": "web", "secret": "x"},
    ],
    ids=str,
)
def test_what_makes_no_key(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NewKey.model_validate(wrong)


def test_a_key_is_a_members_unless_it_is_said() -> None:
    asked = NewKey.model_validate({"name": "web"})
    assert (asked.role, asked.scopes, asked.expires_at) == (Role.MEMBER, None, None)


def test_an_overlap_is_a_month_at_most() -> None:
    assert KeyRotation.model_validate({"overlap_s": 30 * 86_400}).overlap_s == 30 * 86_400
    for seconds in (-1, 30 * 86_400 + 1):
        with pytest.raises(ValidationError):
            KeyRotation.model_validate({"overlap_s": seconds})


@pytest.mark.parametrize("id_", ["", "a b", "a\x00", "é", "a-b", "a'; --"])
def test_what_can_be_no_key_is_not_looked_for(id_: str) -> None:
    class Request:
        """Of a key."""

        path_params = {"id": id_}  # noqa: RUF012

    with pytest.raises(NotFound):
        _key_id(Request())  # type: ignore[arg-type]
