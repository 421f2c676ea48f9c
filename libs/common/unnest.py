"""Many rows in one statement: a table of columns that becomes `unnest($1::uuid[], …) AS t (id, …)` and its values.

Each column is named once, with its type and where its value comes from, so the three cannot get out of step.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Row = TypeVar("Row")


class Columns(Generic[Row]):
    """The columns by name: for each a PostgreSQL type, and its value as a function of a `Row`.

    A function and not the attribute's name, so that mypy knows of a field that was renamed.
    """

    def __init__(self, **columns: tuple[str, Callable[[Row], object]]) -> None:
        self._types = {name: type_ for name, (type_, _) in columns.items()}
        self._values = [value for _, value in columns.values()]

    def __len__(self) -> int:
        return len(self._values)

    @property
    def names(self) -> str:
        """`id, tenant, …`"""
        return ", ".join(self._types)

    def unnested(self, alias: str, *, first: int = 1, ordinality: str = "") -> str:
        """The FROM item that reads parameters `$first` and up as rows of `alias`.

        `ordinality` names a further column that numbers the rows from 1.
        """
        arrays = ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(self._types.values(), first))
        numbered, names = (" WITH ORDINALITY", f"{self.names}, {ordinality}") if ordinality else ("", self.names)
        return f"unnest({arrays}){numbered} AS {alias} ({names})"

    def arrays(self, rows: Sequence[Row]) -> list[list[object]]:
        """The parameters: one list for each column, in order."""
        return [[value(row) for row in rows] for value in self._values]
