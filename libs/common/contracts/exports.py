"""What may be asked of an export, and the payloads of the exporter's jobs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from libs.common.contracts.datasets import DATASETS, SUBJECT, SUBJECT_COLUMNS, Column, Dataset, Kind
from libs.common.contracts.ids import parse_id
from libs.common.contracts.mail import MailPayload

VALUES_AT_MOST = 100
"""Values of one filter."""
FILES_AT_MOST = 20
"""Files of one export."""
FORMAT_VERSION = 1
"""Of manifest.json and of what values become in files; it grows when a reader would have to be changed."""


class FileFormat(StrEnum):
    """What a file can be."""

    CSV = "csv"
    JSONL = "jsonl"
    XLSX = "xlsx"
    PARQUET = "parquet"


MEDIA_TYPES: Mapping[FileFormat, str] = {
    FileFormat.CSV: "text/csv; charset=utf-8",
    FileFormat.JSONL: "application/x-ndjson",
    FileFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    FileFormat.PARQUET: "application/vnd.apache.parquet",
}
COMPRESSIBLE = frozenset({FileFormat.CSV, FileFormat.JSONL})
"""The others are compressed already."""
Text = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]
_TEXTS: TypeAdapter[list[str]] = TypeAdapter(Annotated[list[Text], Field(min_length=1, max_length=VALUES_AT_MOST)])
_MOMENT: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)
_A_TIME = "a time with its zone, such as 2030-12-24T12:00:00Z"
_EDGE = timedelta(days=2)
"""Moments closer to the ends of the calendar than this cannot be stored in every time zone."""


class ExportOptions(BaseModel):
    """How the file is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compression: Literal["none", "gzip"] = "none"
    """Of CSV and JSONL."""
    excel_safe: bool = False
    """In CSV, write `'` before text that a spreadsheet would take for a formula."""
    bom: bool = False
    """Begin CSV with a byte order mark, by which Excel recognises UTF-8."""


class ExportRequest(BaseModel):
    """Which rows of which dataset are wanted, and as what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    format: FileFormat
    columns: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)] | None = None
    """In this order; None: all."""
    filter: dict[str, Any] = {}
    """Rows that match all of these; GET /v1/datasets has their names."""
    options: ExportOptions = ExportOptions()
    since: str | None = None
    """An earlier export of the dataset, as `job_…`: only rows that it may lack."""
    subject: Annotated[Text, Field(min_length=1)] | None = None
    """Of the dataset `subject`: the person, by address or as in events."""

    @field_validator("dataset")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name != SUBJECT and name not in DATASETS:
            raise ValueError(f"There is no such dataset; there are {_listed([*DATASETS, SUBJECT])}.")
        return name

    @field_validator("columns")
    @classmethod
    def _are_known(cls, names: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        known = [column.name for column in _columns(info)]
        if unknown := [name for name in names or () if name not in known]:
            raise ValueError(f"There is no column {unknown[0]!r}; there are {_listed(known)}.")
        if names is not None and len(set(names)) < len(names):
            raise ValueError("A column is named twice.")
        return names

    @field_validator("filter")
    @classmethod
    def _can_be_read(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        dataset = DATASETS.get(info.data.get("dataset", ""))
        read_filter(dataset, given)
        return given

    @field_validator("options")
    @classmethod
    def _fit_the_format(cls, options: ExportOptions, info: ValidationInfo) -> ExportOptions:
        format_ = info.data.get("format")
        if options.compression != "none" and format_ not in COMPRESSIBLE:
            raise ValueError(f"`compression` is for {_listed(sorted(COMPRESSIBLE))} only.")
        if (options.excel_safe or options.bom) and format_ is not FileFormat.CSV:
            raise ValueError("`excel_safe` and `bom` are for csv only.")
        return options

    @field_validator("since")
    @classmethod
    def _knows_changes(cls, since: str | None, info: ValidationInfo) -> str | None:
        dataset = DATASETS.get(info.data.get("dataset", ""))
        if since is not None and (dataset is None or dataset.changed_by is None):
            known = [name for name, one in DATASETS.items() if one.changed_by is not None]
            raise ValueError(f"`since` is possible for: {_listed(known) or 'no dataset'}.")
        if since is not None and parse_id(since) is None:
            raise ValueError("Not the id of a job.")
        return since

    @model_validator(mode="after")
    def _names_a_person_where_one_is_asked_for(self) -> Self:
        if (self.dataset == SUBJECT) != (self.subject is not None):
            raise ValueError(f"The dataset `{SUBJECT}` needs `subject`, and no other has it.")
        return self

    @property
    def chosen(self) -> tuple[Column, ...]:
        """The columns of the file, in their order."""
        columns = {column.name: column for column in columns_of(self.dataset)}
        return tuple(columns.values()) if self.columns is None else tuple(columns[name] for name in self.columns)

    @property
    def ending(self) -> str:
        """What the name of the file ends with, such as `.csv.gz`."""
        return f".{self.format}{'.gz' if self.options.compression == 'gzip' else ''}"

    @property
    def media_type(self) -> str:
        """Of the file."""
        return "application/gzip" if self.options.compression == "gzip" else MEDIA_TYPES[self.format]


def file_names(requests: Sequence[ExportRequest]) -> list[str]:
    """A name for the file of each, such as `jobs.csv`; that of a second one is `jobs-2.csv`."""
    names: list[str] = []
    for request in requests:
        stems = (request.dataset, *(f"{request.dataset}-{number}" for number in range(2, len(requests) + 1)))
        names.append(next(name for stem in stems if (name := stem + request.ending) not in names))
    return names


def columns_of(dataset: str) -> tuple[Column, ...]:
    """All columns of a dataset."""
    return SUBJECT_COLUMNS if dataset == SUBJECT else DATASETS[dataset].columns


def read_filter(dataset: Dataset | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of each filter as they are compared: texts, UUIDs or a moment. Raises ValueError."""
    known = {} if dataset is None else dataset.filters
    return {name: _read(name, known, value) for name, value in given.items()}


def _read(name: str, known: Mapping[str, Column], value: Any) -> Any:
    column = known.get(name)
    if column is None:
        raise ValueError(f"There is no filter {name[:100]!r}; there are {_listed(known) or 'none'}.")
    try:
        if column.kind in (Kind.TIME, Kind.DATE):
            return _in_range(_MOMENT.validate_python(value if isinstance(value, str) else None))
        texts = _TEXTS.validate_python(value)
    except ValidationError as error:
        needed = _A_TIME if column.kind in (Kind.TIME, Kind.DATE) else f"a list of 1 to {VALUES_AT_MOST} texts"
        raise ValueError(f"{name}: This must be {needed}.") from error
    if column.kind is not Kind.ID:
        return texts
    ids: list[UUID | None] = [parse_id(text, column.prefix) for text in texts]
    if None in ids:
        raise ValueError(f"{name}: an id is written `{column.prefix}_…`.")
    return ids


def _in_range(moment: datetime) -> datetime:
    if not datetime.min.replace(tzinfo=UTC) + _EDGE < moment < datetime.max.replace(tzinfo=UTC) - _EDGE:
        raise ValueError("The moment is too far away.")
    return moment


def _columns(info: ValidationInfo) -> tuple[Column, ...]:
    name = info.data.get("dataset")
    return () if name is None else columns_of(name)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


class FilePayload(BaseModel):
    """The payload of a job that writes a file, or several as of one moment."""

    kind: Literal["file"] = "file"
    request: ExportRequest
    also: tuple[ExportRequest, ...] = ()
    letter: MailPayload | None = None
    """To be sent with the link of the file when it is there."""

    @property
    def requests(self) -> tuple[ExportRequest, ...]:
        """What is wanted, in order: a file for each."""
        return (self.request, *self.also)


class HousekeepingPayload(BaseModel):
    """The payload of the fleet's nightly job."""

    kind: Literal["housekeeping"] = "housekeeping"


class ExporterPayload(RootModel[Annotated[FilePayload | HousekeepingPayload, Field(discriminator="kind")]]):
    """The payload of any job of the exporter."""

    @model_validator(mode="before")
    @classmethod
    def _the_fleets_own_has_none(cls, payload: Any) -> Any:
        """A fleet schedule's jobs have the payload {}."""
        return payload or {"kind": "housekeeping"}
