"""Why a job is not running: the nearest reason, and the facts it rests on."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.ids import public_id
from services.gateway.endpoints.job_why import explain

THEN = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
QUEUED: dict[str, Any] = {
    "state": "queued", "queue": "ocr", "paused_at": None, "workers": 2, "worker_seen_at": THEN,
    "ticketed_at": None, "running": 0, "slots": 4, "tickets_ahead": 1, "ahead": 7, "held": 0, "holding": [],
    "max_running": None, "max_running_per_tenant": None, "shared": False, "preempted": 0,
    "share": {"slots": 1, "of": 4, "held": 0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({}, "behind", "It waits behind 7 jobs of its tenant, and 1 that have tickets."),
        ({"paused_at": THEN, "workers": 0}, "paused", "The queue ocr is paused."),
        (
            {"workers": 0},
            "no_worker",
            "The queue ocr has had no worker since 2030-01-02 03:04:05 UTC.",
        ),
        (
            {"workers": 0, "worker_seen_at": None},
            "no_worker",
            "The queue ocr has had no worker yet.",
        ),
        ({"ticketed_at": THEN}, "next", "It is being handed to a worker; 1 job is before it."),
        (
            {"ticketed_at": THEN, "running": 4},
            "next",
            "All 4 slots of the queue's workers are busy; 1 job is before it.",
        ),
        (
            {"max_running_per_tenant": 2, "held": 2, "max_running": 1, "running": 1},
            "tenant_cap",
            "At most 2 jobs of a tenant may run at once in this queue, and 2 do.",
        ),
        (
            {"max_running": 2, "running": 1},
            "queue_cap",
            "At most 2 jobs may run at once in this queue, and 1 do.",
        ),
        ({"max_running": 3, "running": 1, "max_running_per_tenant": 1}, "behind", None),
        (
            {"shared": True, "held": 1},
            "tenant_share",
            "While others wait, the share of a tenant is 1 of 4 slots, and yours holds 1.",
        ),
        ({"shared": True, "held": 0}, "behind", None),
        ({"shared": True, "held": 4, "share": {"slots": 4, "of": 4, "held": 4}}, "behind", None),
    ],
)
def test_a_queued_job_waits_for_one_thing(changes: dict[str, Any], code: str, sentence: str | None) -> None:
    found, said, facts = explain(QUEUED | changes)
    assert found == code
    assert sentence in (said, None)
    assert facts
    if code in ("behind", "next", "tenant_share"):
        assert (facts["share"], facts["preempted"]) == ((QUEUED | changes)["share"], 0)


def test_who_holds_a_tenants_places_is_named_as_callers_know_them() -> None:
    held = QUEUED | {"max_running_per_tenant": 1, "held": 1, "holding": [UUID(int=5)]}
    assert explain(held)[2]["held_by"] == [public_id(UUID(int=5))]


@pytest.mark.parametrize(("failures", "times"), [(1, "once"), (2, "2 times"), (4, "4 times")])
def test_a_job_between_two_tries_says_when_and_why(failures: int, times: str) -> None:
    facts = {
        "state": "scheduled",
        "due_at": THEN,
        "failures": failures,
        "error": {"message": "Away."},
    }
    code, sentence, evidence = explain(facts)
    assert (code, sentence) == (
        "waiting_to_retry", f"It failed {times} and is tried again at 2030-01-02 03:04:05 UTC.",
    )  # fmt: skip
    assert evidence["error"] == "Away."
    assert explain(facts | {"failures": 0, "error": None})[0] == "scheduled"


def test_a_job_that_is_held_says_by_what() -> None:
    facts = {"state": "scheduled", "due_at": THEN, "failures": 0, "error": None, "note": "The relay said no."}
    code, sentence, evidence = explain(facts)
    assert (code, sentence) == ("held", "It is held until 2030-01-02 03:04:05 UTC: The relay said no.")
    assert evidence["note"] == "The relay said no."
    assert explain(facts | {"failures": 2})[0] == "waiting_to_retry"


def test_a_job_that_runs_or_waits_for_its_parts_or_has_ended() -> None:
    running = {"state": "running", "started_at": THEN, "attempt": 1, "progress": None, "cancel_requested_at": None}
    running |= {"share": {"slots": 1, "of": 4, "held": 2}, "preempted": 1, "gives_way": False}
    assert explain(running)[1] == "It is running, since 2030-01-02 03:04:05 UTC."
    assert explain(running)[2]["preempted"] == 1
    assert explain(running | {"gives_way": True})[0] == "giving_way"
    assert explain(running | {"cancel_requested_at": THEN})[0] == "cancelling"
    waiting = explain({"state": "waiting", "progress": {"done": 3, "total": 10}})
    assert waiting[1] == "It waits for its children: 3 of 10 have ended."
    part_held = explain({"state": "waiting", "progress": {"done": 3, "total": 10}, "note": "The relay said no."})
    assert part_held[1].endswith("3 of 10 have ended. At least one is held: The relay said no.")
    for state, said in (("succeeded", "succeeded"), ("failed", "failed"), ("cancelled", "was cancelled")):
        code, sentence, _ = explain({"state": state, "finished_at": THEN, "error": None})
        assert (code, sentence) == (state, f"It has ended: it {said}.")
