"""/v1/datasets and /v1/exports: what can be exported, and files of it, written by a job."""

import hashlib
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.datasets import DATASETS, SUBJECT, Column, Dataset, Kind
from libs.common.contracts.exports import (
    FILES_AT_MOST,
    VALUES_AT_MOST,
    ExportRequest,
    FileFormat,
    FilePayload,
    columns_of,
)
from libs.common.contracts.services import EXPORTER
from libs.common.ledger.jobs import new_id
from services.gateway.endpoints.letters import AddressedLetter
from services.gateway.endpoints.recurrence import Recurrence
from services.gateway.endpoints.submission import JobFields, new_job, submit
from services.gateway.http.admission import caller
from services.gateway.http.export_schemas import DatasetList
from services.gateway.http.json_io import json_response, read_json
from services.gateway.identity.scopes import Principal, Scope
from services.gateway.problems import Forbidden, Invalid, invalid_fields

ALL = Scope.EXPORTS_ALL
"""What is needed to export the rows of a person from all datasets."""


TO_RECIPIENTS = {"required": ["recipients"], "properties": {"recipients": {"type": "array", "minItems": 1}}}
"""Which letters can tell of a file."""


def _by_dataset(schema: dict[str, Any]) -> None:
    """Add the columns and filters of each dataset, and what goes with which format, for /openapi.json."""
    kinds = [_variant(name, DATASETS.get(name)) for name in (*DATASETS, SUBJECT)]
    schema["anyOf"] = kinds
    uncompressed = {"properties": {"options": {"properties": {"compression": {"const": "none"}}}}}
    plain = {"properties": {"options": {"properties": {"excel_safe": {"const": False}, "bom": {"const": False}}}}}
    schema["allOf"] = [
        {"anyOf": [{"properties": {"format": {"enum": [FileFormat.CSV, FileFormat.JSONL]}}}, uncompressed]},
        {"anyOf": [{"properties": {"format": {"const": FileFormat.CSV}}}, plain]},
    ]


def _with_a_letter(schema: dict[str, Any]) -> None:
    """Add which letters there can be, too."""
    _by_dataset(schema)
    schema["allOf"].append({"properties": {"letter": {"anyOf": [{"type": "null"}, TO_RECIPIENTS]}}})


def _variant(name: str, dataset: Dataset | None) -> dict[str, Any]:
    columns = [column.name for column in columns_of(name)]
    filters = {} if dataset is None else {key: _filter(column) for key, column in dataset.filters.items()}
    known: dict[str, Any] = {
        "dataset": {"const": name},
        "columns": {
            "anyOf": [{"items": {"enum": columns}, "uniqueItems": True, "type": "array"}, {"type": "null"}]
        },
        "filter": {"properties": filters, "additionalProperties": False},
    }
    if dataset is None or dataset.changed_by is None:
        known["since"] = {"type": "null"}
    else:
        known["since"] = {"anyOf": [{"type": "string", "pattern": "^job_[0-9a-f]{32}$"}, {"type": "null"}]}
    if name != SUBJECT:
        known["subject"] = {"type": "null"}
        return {"properties": known}
    return {"properties": known | {"subject": {"type": "string"}}, "required": ["subject"]}


def _filter(column: Column) -> dict[str, Any]:
    if column.kind in (Kind.TIME, Kind.DATE):
        return {"type": "string", "format": "date-time"}
    text: dict[str, Any] = {"type": "string", "maxLength": 1000, "pattern": r"^[^\x00]*$"}
    if column.kind is Kind.ID:
        text = {"type": "string", "pattern": f"^{column.prefix}_[0-9a-f]{{32}}$"}
    return {"type": "array", "items": text, "minItems": 1, "maxItems": VALUES_AT_MOST}


class ExportedFile(ExportRequest):
    """A file of an export: which rows of which dataset, and as what."""

    dataset: Annotated[str, Field(examples=["jobs"])]

    model_config = ConfigDict(extra="forbid", json_schema_extra=_by_dataset)


class RecurringExport(ExportedFile):
    """An export, and the letter that tells of its file."""

    also: Annotated[tuple[ExportedFile, ...], Field(max_length=FILES_AT_MOST - 1)] = ()
    """Further files, which are as of the same moment."""
    letter: AddressedLetter | None = None
    """A template to `recipients`, with variables such as `link`, `expires_at`, `file`, `files` and `rows`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_with_a_letter)


class ExportSubmission(RecurringExport, JobFields):
    """The body of POST /v1/exports."""


async def list_datasets(request: Request) -> Response:
    """The datasets that can be exported: columns with their types, filters, and the scope that each needs."""
    caller(request)
    shown: DatasetList = {
        "datasets": [
            {
                "name": dataset.name,
                "scope": dataset.scope,
                "columns": [{"name": column.name, "type": column.kind} for column in dataset.columns],
                "filters": [{"name": name, "type": column.kind} for name, column in dataset.filters.items()],
                "since": dataset.changed_by is not None,
                "names_people": dataset.subject is not None,
            }
            for dataset in DATASETS.values()
        ],
        "formats": list(FileFormat),
    }
    return json_response(shown)


async def submit_export(request: Request) -> Response:
    """Write the rows of a dataset, or of several, to files, in a job. They and their manifest are its artifacts.

    All rows are as of one moment, `as_of` in the result, in no order.
    """
    submission = await read_json(request, ExportSubmission)
    principal = caller(request)
    payload = _payload(principal, submission)
    fields = JobFields(**submission.model_dump(include=set(JobFields.model_fields)))
    job = new_job(
        request,
        principal,
        fields,
        job_id=new_id(),
        queue=EXPORTER.name,
        kind="file",
        payload=payload,
        fingerprint=hashlib.sha256(submission.model_dump_json(by_alias=True).encode()).digest(),
    )
    return await submit(request, job)


async def recurring_export(
    _request: Request, principal: Principal, _folder: str, payload: dict[str, Any]
) -> Recurrence:
    """The jobs of a recurring export. Raises Invalid, Forbidden."""
    try:
        wanted = RecurringExport.model_validate_json(to_json(payload), strict=True)
    except ValidationError as error:
        raise invalid_fields(error, within="body.payload") from error
    return Recurrence("file", _payload(principal, wanted))


def _payload(principal: Principal, wanted: RecurringExport) -> bytes:
    """The payload of the job. Raises Forbidden, Invalid."""
    files = (wanted, *wanted.also)
    scopes = {ALL if file.dataset == SUBJECT else Scope(DATASETS[file.dataset].scope) for file in files}
    letter = wanted.letter
    if letter is not None:
        scopes.add(Scope.MAIL_WRITE)
        if not letter.recipients:
            message = "A letter that tells of a file is a template to `recipients`."
            raise Invalid(errors=[{"field": "body.letter.recipients", "message": message}])
    if missing := sorted(scopes - principal.scopes):
        raise Forbidden(f"This needs the scope {', '.join(missing)}.")
    asked = ExportRequest.model_construct(**{name: getattr(wanted, name) for name in ExportRequest.model_fields})
    sent = None if letter is None else letter.payload()
    payload = FilePayload.model_construct(request=asked, also=wanted.also, letter=sent)
    return payload.model_dump_json(by_alias=True).encode()
