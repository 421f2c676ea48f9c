"""What a handler sees of a job, and what it may give back."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from libs.common.ledger.jobs import new_id
from libs.common.worker.job import Job


class Nothing(BaseModel):
    """A payload."""


@pytest.fixture
def reported() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def job(reported: list[dict[str, Any]]) -> Job[Nothing]:
    return Job(new_id(), 1, "dev", "k", Nothing(), reported.append)


def test_progress_may_have_no_end_and_no_note(job: Job[Nothing], reported: list[dict[str, Any]]) -> None:
    job.progress(3, None)
    job.progress(4, 4, "a\x00b")
    assert reported == [{"done": 3, "total": None, "note": None}, {"done": 4, "total": 4, "note": "ab"}]


def test_no_two_attempts_jobs_or_tenants_share_a_file(job: Job[Nothing]) -> None:
    others = (
        replace(job, attempt=2),
        replace(job, id=new_id()),
        replace(job, tenant="other"),
        replace(job, parent=new_id()),
    )
    keys = {one.blob_key("text.txt") for one in (job, *others)}
    assert len(keys) == 5


def test_a_childs_files_lie_with_its_parents_and_go_with_them(job: Job[Nothing]) -> None:
    child = replace(job, id=new_id(), parent=job.id)
    folder = job.blob_key("x").removesuffix("1/x")
    assert child.blob_key("text.txt").startswith(folder)
