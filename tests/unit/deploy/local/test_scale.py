"""Numbers of workers that there cannot be are one clear line."""

import pytest

from deploy.local.errors import CannotRun
from deploy.local.scale import scale


@pytest.mark.parametrize(
    ("service", "number", "told"),
    [
        ("ocr", "many", "N is many: it should be a whole number"),
        ("ocr", "-1", "N is -1: it should be a whole number"),
        ("ocr", "33", "N is 33: it should be a whole number from 0 to 32"),
        ("ocr", None, "Say how many"),
        (None, "2", "Say which worker"),
        ("cook", "2", "There is no worker cook; there are: ocr, "),
    ],
)
def test_a_wrong_number_of_workers_is_one_clear_line(service: str | None, number: str | None, told: str) -> None:
    with pytest.raises(CannotRun) as refused:
        scale(service, number)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
