"""Documents as JSON: times in one way, whatever else they have."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.json_documents import encoded

NOON = datetime(2030, 12, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize("beside", [1, 2**70, {7: "a"}, frozenset(["a"])])
def test_times_are_written_in_one_way_whatever_is_beside_them(beside: Any) -> None:
    document = {"at": NOON, "each": [NOON, (NOON,)], "beside": beside}
    found = json.loads(encoded(document))
    assert found["at"] == "2030-12-24T12:00:00.000000Z"
    assert found["each"] == [found["at"], [found["at"]]]


def test_whole_numbers_of_any_size_and_ids() -> None:
    found = json.loads(encoded({"number": 2**70, "id": UUID(int=7), "text": "2030-12-24T12:00:00Z"}))
    assert found == {"number": 2**70, "id": str(UUID(int=7)), "text": "2030-12-24T12:00:00Z"}
