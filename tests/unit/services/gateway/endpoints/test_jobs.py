"""Cursors: they lead on from one job, and what is none is told so."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.gateway.endpoints.jobs import JobListQuery, PageQuery, _cursor, _parse_cursor
from services.gateway.problems import Invalid


@given(st.uuids())
def test_a_cursor_leads_back_to_its_job(job_id: object) -> None:
    cursor = _cursor(job_id)  # type: ignore[arg-type]
    assert _parse_cursor(PageQuery(cursor=cursor).cursor) == job_id


@given(st.text(alphabet="AZaz09-_", min_size=22, max_size=22))
def test_whatever_looks_like_a_cursor_is_one_or_is_refused(text: str) -> None:
    assert PageQuery(cursor=text).cursor == text
    with suppress(Invalid):
        assert _parse_cursor(text) is not None


@pytest.mark.parametrize("cursor", ["", "short", "x" * 23, "é" * 22, "+" * 22, "x" * 21 + "\n"])
def test_what_does_not_look_like_one_is_refused(cursor: str) -> None:
    with pytest.raises(ValidationError):
        PageQuery(cursor=cursor)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "all"])
def test_a_page_has_some_jobs_and_not_too_many(limit: str) -> None:
    with pytest.raises(ValidationError):
        JobListQuery.model_validate({"limit": limit})
    assert JobListQuery.model_validate({"limit": "100"}).limit == 100
