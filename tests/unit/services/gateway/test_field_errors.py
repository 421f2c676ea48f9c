"""What is wrong with a field is told in our words, and where it is in the caller's own."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from services.gateway.field_errors import field_error, field_errors, not_json


class Colour(StrEnum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Round(BaseModel):
    """A branch."""

    kind: Literal["round"]
    radius: float


class Square(BaseModel):
    """Another branch."""

    kind: Literal["square"]
    side: float


class Everything(BaseModel):
    """A field for each way of being wrong."""

    model_config = ConfigDict(extra="forbid")

    must: int
    text: Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]+$")] = "ab"
    number: Annotated[int, Field(ge=1, le=9)] = 1
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    flag: bool = True
    entries: Annotated[list[str], Field(min_length=1, max_length=2)] = ["a"]
    table: dict[str, int] = {}
    colour: Colour = Colour.RED
    size: Literal["s", "m"] = "s"
    at: AwareDatetime | None = None
    day: AwareDatetime | date | None = None
    id: UUID | None = None
    shape: Annotated[Round | Square, Field(discriminator="kind")] | None = None
    even: int = 0
    pair: tuple[str, int] = ("a", 1)

    @field_validator("even")
    @classmethod
    def _is_even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("This must be even.")
        return number


def errors_of(text: str) -> list[dict[str, str]]:
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json(text, strict=True)
    number, errors = field_errors(caught.value, within="body", document=from_json(text))
    assert number == len(errors)
    return errors


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ("", "required", "This is required."),
        ('"other": 1', "unknown", "There is no such field."),
        ('"text": 1', "wrong_type", "This must be a text."),
        ('"text": "a"', "too_short", "2 characters or more"),
        ('"text": "abcde"', "too_long", "4 characters at most"),
        ('"text": "AB"', "wrong_format", "^[a-z]+$"),
        ('"number": "1"', "wrong_type", "whole number"),
        ('"number": 1.5', "wrong_type", "whole number"),
        ('"number": 0', "too_small", "1 or more"),
        ('"number": 10', "too_large", "9 or less"),
        ('"share": 0', "too_small", "more than 0"),
        ('"share": 1', "too_large", "less than 1"),
        ('"share": "x"', "wrong_type", "a number"),
        ('"flag": 1', "wrong_type", "true or false"),
        ('"entries": {}', "wrong_type", "a list"),
        ('"entries": []', "too_short", "1 entries or more"),
        ('"entries": ["a", "b", "c"]', "too_long", "2 entries at most"),
        ('"table": []', "wrong_type", "an object"),
        ('"colour": "green"', "not_one_of", "red, blue"),
        ('"size": "l"', "not_one_of", "s, m"),
        ('"at": "2030-12-24T12:00:00"', "wrong_format", "2030-12-24T12:00:00Z"),
        ('"at": "noon"', "wrong_format", "2030-12-24T12:00:00Z"),
        ('"day": "noon"', "wrong_format", "such as 2030-12-24."),
        ('"id": "x"', "wrong_format", "a UUID"),
        ('"shape": {"kind": "flat"}', "not_one_of", "round, square"),
        ('"shape": {}', "not_one_of", "which kind"),
        ('"shape": []', "wrong_type", "an object"),
        ('"even": 3', "not_allowed", "This must be even."),
        ('"pair": ["a"]', "required", "This is required."),
    ],
)
def test_every_kind_is_in_our_words(given: str, code: str, says: str) -> None:
    (error,) = errors_of(f"{{{given}}}" if not given else f'{{"must": 1, {given}}}')
    assert error["code"] == code
    assert says in error["message"]
    assert not any(
        word in error["message"].lower() for word in ("input", "value error", "valid dictionary", "tag")
    )


def test_where_it_is_names_no_branch_of_a_union() -> None:
    (error,) = errors_of('{"must": 1, "shape": {"kind": "round"}}')
    assert (error["field"], error["pointer"]) == ("body.shape.radius", "/shape/radius")
    (error,) = errors_of('{"must": 1, "day": 5}')
    assert (error["field"], error["pointer"]) == ("body.day", "/day")


def test_a_pointer_is_one_whatever_the_names_are() -> None:
    (error,) = errors_of('{"must": 1, "table": {"a/b~c": "x"}}')
    assert error["pointer"] == "/table/a~1b~0c"
    assert field_error("body.recipients", "No.") == {
        "field": "body.recipients", "code": "not_allowed", "message": "No.", "pointer": "/recipients",
    }  # fmt: skip
    assert "pointer" not in field_error("query.limit", "No.")


def test_where_it_stops_being_json_is_told() -> None:
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json('{"must": }')
    told = not_json(caught.value.errors()[0]["msg"])
    assert told == "it cannot be read beyond line 1, column 10."
    assert not_json("whatever") == "it cannot be read."


def test_what_pydantic_may_say_one_day_is_said_somehow() -> None:
    class Odd(BaseModel):
        at: Annotated[datetime, Field(strict=True)]
        more: Any = None

    with pytest.raises(ValidationError) as caught:
        Odd.model_validate({"at": object()})
    _, (error,) = field_errors(caught.value, within="body")
    assert error["message"]
