"""What gateway and exporter exchange."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from libs.common.contracts.datasets import DATASETS
from libs.common.contracts.exports import (
    ExporterPayload,
    ExportRequest,
    FileFormat,
    FilePayload,
    HousekeepingPayload,
    file_names,
    read_filter,
)
from libs.common.ledger.jobs import new_id


def test_the_fleets_own_job_has_no_payload() -> None:
    assert ExporterPayload.model_validate_json("{}").root == HousekeepingPayload()


def test_a_request_is_the_same_when_it_has_been_stored() -> None:
    request = ExportRequest(
        dataset="recipients",
        format=FileFormat.CSV,
        columns=("address", "number"),
        filter={"state": ["sent"], "sent_after": "2026-01-01T00:00:00Z"},
    )
    stored = FilePayload(request=request).model_dump_json()
    read = ExporterPayload.model_validate_json(stored).root
    assert isinstance(read, FilePayload)
    assert read.request == request
    assert [column.name for column in read.request.chosen] == ["address", "number"]


def test_filters_are_read_as_what_they_are_compared_with() -> None:
    letter = new_id()
    given = {"letter": [f"job_{letter.hex}"], "due_before": "2026-01-01T02:00:00+02:00", "state": ["sent", "x"]}
    assert read_filter(DATASETS["recipients"], given) == {
        "letter": [letter],
        "due_before": datetime(2026, 1, 1, tzinfo=UTC),
        "state": ["sent", "x"],
    }


def test_files_are_named_after_what_they_are_and_no_two_alike() -> None:
    wanted = [
        ("jobs", "jsonl", "none"),
        ("jobs", "jsonl", "gzip"),
        ("jobs", "csv", "none"),
        ("events", "csv", "none"),
    ]
    requests = [
        ExportRequest.model_validate({"dataset": dataset, "format": format_, "options": {"compression": how}})
        for dataset, format_, how in (*wanted, *wanted[:2], wanted[0])
    ]
    assert file_names(requests) == [
        *("jobs.jsonl", "jobs.jsonl.gz", "jobs.csv", "events.csv"),
        *("jobs-2.jsonl", "jobs-2.jsonl.gz", "jobs-3.jsonl"),
    ]


def test_a_payload_of_one_file_is_as_it_was() -> None:
    """A gateway of the release before says nothing of further files."""
    request = ExportRequest(dataset="jobs", format=FileFormat.CSV)
    assert FilePayload.model_validate({"request": request.model_dump()}).requests == (request,)


@pytest.mark.parametrize("name", [name for name, dataset in DATASETS.items() if dataset.changed_by is None])
def test_only_what_knows_its_changes_has_since(name: str) -> None:
    with pytest.raises(ValidationError, match="opportunities, opportunity_changes"):
        ExportRequest(dataset=name, format=FileFormat.CSV, since=f"job_{new_id().hex}")
