"""What a source may say of itself."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.contracts.sync import HousekeepingPayload, SourceChange, SyncPayload

SPEC = {"url": "https://example.org/grants.json", "format": "json"}


def test_paging_is_read_by_its_kind() -> None:
    paging = {"kind": "offset", "in": "body", "parameter": "from", "size": ["rows", 100]}
    change = SourceChange.model_validate({"name": "grants", "spec": SPEC | {"paging": paging}})
    assert change.spec.model_dump(mode="json", by_alias=True)["paging"] == paging


@pytest.mark.parametrize(
    "wrong",
    [
        {"paging": {"kind": "offset", "parameter": "from", "size": ["rows", 1_001]}},
        {"paging": {"kind": "spiral"}},
        {"max_gone_ratio": 1.1},
        {"min_interval_s": 0},
        {"time_zone": "Mars/Olympus"},
        {"mapping": {"heading": "title"}},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SourceChange.model_validate({"name": "grants", "spec": SPEC | wrong})


@pytest.mark.parametrize(
    "headers", [{"X-Key": "a\r\nHost: b"}, {"Bad name": "x"}, {f"X-{n}": "" for n in range(21)}]
)
def test_headers_cannot_end_a_line(headers: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SourceChange.model_validate({"name": "grants", "spec": SPEC, "headers": headers})


def test_the_fleets_schedule_has_an_empty_payload() -> None:
    assert SyncPayload.model_validate({}).root == HousekeepingPayload()
