"""Columns: names, types and values stay together."""

from typing import NamedTuple

from libs.common.unnest import Columns


class Row(NamedTuple):
    """Two attributes."""

    id: int
    name: str


def test_types_names_and_values_are_in_the_order_of_the_columns() -> None:
    columns: Columns[Row] = Columns(
        id=("int", lambda row: row.id),
        shouted=("text", lambda row: row.name.upper()),
        name=("text", lambda row: row.name),
    )
    assert columns.unnested("u") == "unnest($1::int[], $2::text[], $3::text[]) AS u (id, shouted, name)"
    assert columns.arrays([Row(1, "a"), Row(2, "b")]) == [[1, 2], ["A", "B"], ["a", "b"]]
    assert len(columns) == 3


def test_parameters_may_begin_later_and_rows_be_numbered() -> None:
    columns: Columns[Row] = Columns(id=("int", lambda row: row.id), name=("text", lambda row: row.name))
    assert columns.unnested("c", first=4, ordinality="place") == (
        "unnest($4::int[], $5::text[]) WITH ORDINALITY AS c (id, name, place)"
    )


def test_no_rows_are_empty_arrays_of_every_column() -> None:
    columns: Columns[Row] = Columns(id=("int", lambda row: row.id), name=("text", lambda row: row.name))
    assert columns.arrays([]) == [[], []]
