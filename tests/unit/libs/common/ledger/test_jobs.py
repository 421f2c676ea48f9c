"""Ids of jobs, and which jobs a filter means."""

import re
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.services import QUEUES_UNLISTED
from libs.common.ledger.jobs import Filter, State, new_id


def test_ids_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)


FILTERS = st.builds(
    Filter,
    queue=st.none() | st.text(),
    kind=st.none() | st.text(),
    states=st.none() | st.lists(st.sampled_from(State), min_size=1).map(tuple),
    tag=st.none() | st.text(st.characters(codec="utf-8")),
    error_code=st.none() | st.text(),
    created_before=st.none() | st.datetimes(),
    created_after=st.none() | st.datetimes(),
    parent=st.none() | st.uuids(),
)


@given(FILTERS, st.text())
def test_a_condition_has_a_place_for_each_value_and_none_of_what_callers_wrote(
    wanted: Filter, tenant: str
) -> None:
    condition, values = wanted.condition(tenant)
    assert [int(number) for number in re.findall(r"\$(\d+)", condition)] == list(range(1, len(values) + 1))
    written = {*(str(state) for state in State), *QUEUES_UNLISTED}
    assert {*re.findall(r"'(\w+)'", condition)} - {"code"} <= written
    texts = [name for name in ("queue", "kind", "tag", "error_code") if getattr(wanted, name) is not None]
    others: dict[str, Any] = dict.fromkeys(texts, "x")
    same, _ = replace(wanted, **others).condition("x")
    assert same == condition


def test_a_filter_means_nobodys_children_unless_it_names_their_parent() -> None:
    parent = new_id()
    assert "parent IS NULL" in Filter().condition("dev")[0]
    condition, values = Filter(parent=parent).condition("dev")
    assert "parent IS NULL" not in condition
    assert values == ["dev", parent]


def test_the_smallest_filter_is_still_one_tenants() -> None:
    condition, values = Filter().condition("dev")
    assert (condition.split(" AND ")[:2], values) == (["tenant = $1", "parent IS NULL"], ["dev"])


def test_jobs_of_some_queues_are_listed_only_where_these_are_named() -> None:
    for queue in QUEUES_UNLISTED:
        assert f"queue <> '{queue}'" in Filter().condition("dev")[0]
        assert f"queue = '{queue}'" in Filter(queue=queue).condition("dev")[0]
    assert "queue" not in Filter(parent=new_id()).condition("dev")[0]
