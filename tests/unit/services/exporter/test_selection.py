"""No caller's word is in the text of a query, and every filter of every dataset selects something."""

import pytest

from libs.common.contracts.datasets import DATASETS, Dataset, Kind
from libs.common.contracts.exports import ExportRequest
from libs.common.ledger.jobs import new_id
from services.exporter.selection import select

CANARY = "'; DROP TABLE x; --"


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))
def test_values_are_bound(dataset: Dataset) -> None:
    given: dict[str, object] = {}
    for name, column in dataset.filters.items():
        match column.kind:
            case Kind.TIME | Kind.DATE:
                given[name] = "2026-01-01T00:00:00Z"
            case Kind.ID:
                given[name] = [f"{column.prefix}_{new_id().hex}"]
            case _:
                given[name] = [CANARY]
    request = ExportRequest.model_validate({"dataset": dataset.name, "format": "csv", "filter": given})
    selection = select(request, None)
    assert "DROP" not in selection.sql
    assert len(selection.args) == len(given) >= 1
    assert all(f"${number}::" in selection.sql for number in range(1, len(given) + 1))


def test_a_person_is_bound_too_and_looked_for_in_all_that_names_people() -> None:
    request = ExportRequest.model_validate({"dataset": "subject", "format": "csv", "subject": CANARY})
    selection = select(request, None)
    assert "DROP" not in selection.sql
    assert selection.args == [CANARY]
    assert selection.sql.count("UNION ALL") == sum(one.subject is not None for one in DATASETS.values()) - 1


def test_what_is_since_is_compared_with_the_transaction() -> None:
    request = ExportRequest.model_validate({"dataset": "opportunities", "format": "csv"})
    selection = select(request, 1234)
    assert "changed_by >= $1::text::xid8" in selection.sql
    assert selection.args == ["1234"]
