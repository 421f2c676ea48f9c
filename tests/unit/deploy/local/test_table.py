"""Tables as they are printed."""

from deploy.local.table import table


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    assert table(("a", "number"), [("long word", 1), ("b", 23)]) == (
        "    a          number\n    long word  1\n    b          23"
    )


def test_a_table_may_be_empty() -> None:
    assert table(("a", "b"), []) == "    a  b"
