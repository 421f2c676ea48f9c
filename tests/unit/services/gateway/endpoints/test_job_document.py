"""A job as callers see it: nothing of the inside, and every field always there."""

from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import TypeAdapter

from services.gateway.endpoints.job_document import error_history, job_document
from services.gateway.http.schemas import Job, JobFailure
from tests.unit.services.gateway.job_facts import job_facts

ARTIFACT = {
    "name": "Tiden für März.txt",
    "media_type": "text/plain",
    "size": 3,
    "sha256": "ab",
    "key": "jobs/secret",
}


def test_it_is_what_the_description_says() -> None:
    error = {"code": "reject", "message": "No.", "traceback": "x"}
    for one in (job_facts(), job_facts(artifacts=[ARTIFACT], error=error)):
        document = job_document(one, "")
        assert set(document) == set(Job.__annotations__)
        TypeAdapter(Job).validate_json(orjson.dumps(document))


def test_ids_are_public_and_say_what_they_are_of() -> None:
    document = job_document(job_facts(**{name: UUID(int=1) for name in ("parent", "schedule", "replay")}), "")
    assert document["id"] == "job_" + f"{7:032x}"
    assert (document["parent"], document["schedule"], document["replay"]) == (
        "job_" + f"{1:032x}", "schedule_" + f"{1:032x}", "replay_" + f"{1:032x}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (None, (0, None, None, None)),
        ({"done": 3}, (3, None, None, None)),
        ({"done": 3, "total": 10, "note": "page 3", "seconds_left": 7}, (3, 10, "page 3", 7)),
    ],
)
def test_progress_is_whole_whatever_the_worker_said(progress: Any, shown: tuple[Any, ...]) -> None:
    assert tuple(job_document(job_facts(progress=progress), "")["progress"].values()) == shown


def test_an_artifact_has_an_address_and_no_key() -> None:
    (artifact,) = job_document(job_facts(artifacts=[ARTIFACT]), "https://a.example/b")["artifacts"]
    assert (
        artifact["url"] == f"https://a.example/b/v1/jobs/job_{7:032x}/artifacts/Tiden%20f%C3%BCr%20M%C3%A4rz.txt"
    )
    assert "secret" not in str(artifact)


def test_where_it_failed_is_for_admins_only() -> None:
    error = {"at": "2030-01-01T12:00:00Z", "attempt": 1, "code": "bug", "type": "KeyError", "message": "x"}
    facts = job_facts(errors=[error | {"traceback": "line 7"}, error | {"attempt": 2, "host": "10.0.0.1"}])
    hidden = error_history(facts, with_tracebacks=False)
    assert [failure["attempt"] for failure in hidden] == [1, 2]
    assert "line 7" not in str(hidden)
    shown = error_history(facts, with_tracebacks=True)
    assert [failure.get("traceback") for failure in shown] == ["line 7", None]
    assert "10.0.0.1" not in str(shown)
    assert set(shown[0]) == set(JobFailure.__annotations__)
    assert error_history(job_facts(), with_tracebacks=True) == []
