"""8.0 is 8, as in JSON; what is no whole number is refused as ever."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from libs.common.contracts.whole_numbers import WHOLE


class Order(BaseModel):
    """As strict as requests are read."""

    model_config = ConfigDict(strict=True)

    number: Annotated[int, Field(ge=1, le=2**60), WHOLE]


@given(st.integers(1, 2**53))
def test_a_whole_number_may_be_written_with_a_point(number: int) -> None:
    assert Order.model_validate({"number": float(number)}).number == number
    assert Order.model_validate_json(f'{{"number": {number}.0}}').number == number


@pytest.mark.parametrize("number", [1.5, 0.0, -3.0, float("inf"), float("nan"), 1e300, "8", True, None])
def test_anything_else_is_refused(number: object) -> None:
    with pytest.raises(ValidationError):
        Order.model_validate({"number": number})
