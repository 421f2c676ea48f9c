"""The fields and headers that any submission may carry."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from starlette.requests import Request

from libs.common.ledger.jobs import NewJob, Priority
from services.gateway.endpoints.submission import (
    WAIT_AT_MOST_S,
    JobFields,
    _wait_s,
    as_requested,
    new_job,
)
from services.gateway.identity.scopes import ROLES, Principal, Role
from services.gateway.limits.policies import DEFAULTS
from services.gateway.problems import Invalid

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def request(*headers: tuple[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "argosy.traceparent": TRACE})


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], 0),
        (["respond-async"], 0),
        (["wait=10"], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async,wait=10;x=y"], 10),
        (["respond-async", "wait=10"], 10),
        (["Wait=10"], 10),
        (["wait=0"], 0),
        (['wait="10"'], 10),
        (["wait = 10"], 10),
        (['wait="10'], 0),
        (["wait=60"], WAIT_AT_MOST_S),
        (["wait=999999"], WAIT_AT_MOST_S),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=ten"], 0),
        (["wait="], 0),
        (["await=10"], 0),
        (["wait=10s"], 0),
    ],
)
def test_how_long_one_would_wait(prefer: list[str], seconds: int) -> None:
    assert _wait_s(request(*[("Prefer", value) for value in prefer])) == seconds


def made(*headers: tuple[str, str], **fields: Any) -> NewJob:
    member = Principal("key", "acme", Role.MEMBER, ROLES[Role.MEMBER], DEFAULTS)
    return new_job(
        request(*headers), member, JobFields.model_validate(fields),
        job_id=UUID(int=1), queue="ocr", kind="document", payload=b"{}", fingerprint=b"f", size=3,
    )  # fmt: skip


def test_a_job_is_its_callers_and_in_its_trace() -> None:
    job = made(priority="high", unique_for="nightly", tags=["a", "b"], max_attempts=8.0)
    assert (job.tenant, job.created_by, job.trace, job.bytes) == ("acme", "key", TRACE, 3)
    assert (job.priority, job.unique_key, job.tags, job.max_attempts) == (Priority.HIGH, "nightly", ("a", "b"), 8)
    assert (job.idempotency_key, job.request_sha256) == (None, b"f")


@pytest.mark.parametrize("key", ["!", "~" * 255, "a-1", "{3f2504e0}"])
def test_a_key_of_printable_characters_is_kept_as_it_is(key: str) -> None:
    assert made(("Idempotency-Key", key)).idempotency_key == key
    again = as_requested(request(("Idempotency-Key", key)), made(), b"what was asked")
    assert again.idempotency_key == key
    assert again.request_sha256 != made().request_sha256


@pytest.mark.parametrize("key", ["", " ", "two words", "x" * 256, "é", "a\t"])
def test_what_is_no_key_is_refused(key: str) -> None:
    for attempt in (made, lambda header: as_requested(request(header), made(), b"")):
        with pytest.raises(Invalid) as refused:
            attempt(("Idempotency-Key", key))
        assert [error["field"] for error in refused.value.members["errors"]] == ["header.Idempotency-Key"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": 26},
        {"max_attempts": 1.5},
        {"timeout_s": 0},
        {"timeout_s": 86_401},
        {"unique_for": ""},
        {"unique_for": "a\nb"},
        {"tags": [""]},
        {"tags": ["x" * 101]},
        {"tags": [str(number) for number in range(21)]},
        {"priority": "urgent"},
        {"run_at": "2030-01-01T00:00:00"},
        {"tenant": "other"},
    ],
    ids=str,
)
def test_fields_have_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JobFields.model_validate(wrong)
