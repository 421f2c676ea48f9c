"""The rows of a request, as SQL.

Names come from the contract and values are bound: no caller's word is in the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC

from libs.common.contracts.datasets import DATASETS, SUBJECT, Column, Dataset, Kind
from libs.common.contracts.exports import ExportRequest, read_filter


@dataclass(slots=True)
class Selection:
    """A query with a column for each of the request's, by name, and the values of its `$1, $2, …`."""

    sql: str = ""
    args: list[object] = field(default_factory=list)

    def bind(self, value: object) -> str:
        """The parameter that stands for `value`."""
        self.args.append(value)
        return f"${len(self.args)}"


def select(request: ExportRequest, since: int | None) -> Selection:
    """The rows of `request`. With `since`, those that a transaction has written that is not below it."""
    selection = Selection()
    if request.dataset == SUBJECT:
        selection.sql = _of_a_person(selection, request)
        return selection
    dataset = DATASETS[request.dataset]
    conditions = [*_conditions(selection, dataset, request)]
    if since is not None:
        conditions.append(f"{dataset.changed_by} >= {selection.bind(str(since))}::text::xid8")
    selection.sql = _rows(dataset, request.chosen, conditions)
    return selection


def _rows(dataset: Dataset, columns: Sequence[Column], conditions: Sequence[str]) -> str:
    values = ", ".join(f'{column.sql} AS "{column.name}"' for column in columns)
    return f"SELECT {values} FROM {dataset.table} WHERE {' AND '.join([dataset.rows, *conditions])}"  # noqa: S608


def _conditions(selection: Selection, dataset: Dataset, request: ExportRequest) -> list[str]:
    given = read_filter(dataset, request.filter)
    found = [condition for name, condition in dataset.rows_unless if name not in given]
    for name, value in given.items():
        column = dataset.filters[name]
        match column.kind:
            case Kind.TIME:
                found.append(f"{column.source} {_side(name)} {selection.bind(value)}::timestamptz")
            case Kind.DATE:
                day = value.astimezone(UTC).date()
                found.append(f"{column.source} {_side(name)} {selection.bind(day)}::date")
            case Kind.ID:
                found.append(f"{column.source} = ANY({selection.bind(value)}::uuid[])")
            case _:
                found.append(f"{column.sql} = ANY({selection.bind(value)}::text[])")
    return found


def _side(filter_: str) -> str:
    return ">=" if filter_.endswith("_after") else "<"


def _of_a_person(selection: Selection, request: ExportRequest) -> str:
    """One query for all datasets, so that all rows are of one moment."""
    person = f"{selection.bind(request.subject)}::text"
    parts = []
    for dataset in DATASETS.values():
        if dataset.subject is None:
            continue
        named, who = dataset.subject, person
        if dataset.subject_ignores_case:
            named, who = f"lower({named})", f"lower({person})"
        rows = _rows(dataset, dataset.columns, [f"{named} = {who}"])
        parts.append(f"SELECT '{dataset.name}' AS dataset, to_json(whole_row) AS row FROM ({rows}) whole_row")  # noqa: S608
    chosen = ", ".join(f'"{column.name}"' for column in request.chosen)
    return f"SELECT {chosen} FROM ({' UNION ALL '.join(parts)}) s"  # noqa: S608
