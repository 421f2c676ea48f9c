"""Only what has changed is written, and what is as it was costs nothing at all."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.contracts.sync import RunResult
from libs.common.db import Database, fetch_within
from services.sync.page import Line, Record
from services.sync.writing import Target, batch_of, write

_WRITTEN = """
SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::int, pg_current_xact_id_if_assigned()::text
FROM pg_stat_xact_all_tables WHERE schemaname = 'sync'
"""
_ROWS = """
SELECT key, title, summary, agency, closes_at, closes_on, amount_max, extra, raw, digest FROM sync.opportunities
WHERE source = $1 AND key = ANY($2) ORDER BY key
"""


def lines(records: dict[str, dict[str, Any]]) -> Iterator[bytes]:
    """A page of these records."""
    for key, fields in records.items():
        record = Record.model_validate({"key": key, "title": key, "raw": {"id": key, **fields}} | fields)
        yield Line(record=record).model_dump_json(exclude_none=True).encode() + b"\n"


async def test_a_page_that_is_as_it_was_writes_no_tuple_and_no_wal(sync_database: Database) -> None:
    target = Target("acme", uuid4(), uuid4(), "english")
    page = {f"k{n}": {"summary": "rural water", "amount_max": "12.50"} for n in range(1_000)}
    async with sync_database.begin(tenant="acme") as connection:
        await write(connection, target, batch_of(lines(page)), RunResult())
    result = RunResult()
    async with sync_database.begin(tenant="acme") as connection:
        ((before, _),) = await fetch_within(connection, _WRITTEN)
        assert await write(connection, target, batch_of(lines(page)), result) == []
        ((after, transaction),) = await fetch_within(connection, _WRITTEN)
    assert (result.unchanged, after - before) == (1_000, 0)
    assert transaction is None  # whoever writes a tuple, locks one or logs anything has an id
    changed = page | {"k7": {"summary": "dams", "amount_max": "12.50"}}
    async with sync_database.begin(tenant="acme") as connection:
        ((before, _),) = await fetch_within(connection, _WRITTEN)
        (change,) = await write(connection, target, batch_of(lines(changed)), RunResult())
        ((after, _),) = await fetch_within(connection, _WRITTEN)
    assert (change.what, list(change.fields), after - before) == ("updated", ["summary"], 2)  # it, and its history


async def test_what_was_received_is_kept_although_nothing_has_changed(sync_database: Database) -> None:
    target = Target("acme", uuid4(), uuid4(), "english")
    for views in (1, 2):
        result = RunResult()
        line = Line(record=Record(key="a", title="A", raw={"views": views})).model_dump_json().encode()
        async with sync_database.begin(tenant="acme") as connection:
            await write(connection, target, batch_of([line]), result)
    assert (result.unchanged, result.updated) == (1, 0)
    ((raw, revision),) = await sync_database.fetch("SELECT raw, revision FROM sync.opportunities")
    assert (raw, revision) == ({"views": 2}, 1)
    ((told,),) = await sync_database.fetch("SELECT count(*) FROM sync.changes")
    assert told == 1


_TEXT = st.text("ab \n\t\"'\\\\%äß€😀\u202e", max_size=5)
_RECORD = st.fixed_dictionaries(
    {},
    optional={
        "summary": _TEXT,
        "agency": st.none() | _TEXT,
        "closes_at": st.datetimes(datetime(1900, 1, 1), datetime(2199, 1, 1)).map(lambda at: f"{at.isoformat()}Z"),
        "closes_on": st.dates().map(str),
        "amount_max": st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
        "extra": st.dictionaries(st.sampled_from("xyz"), st.integers(-5, 5) | _TEXT | st.booleans() | st.none()),
    },
)
_LISTS = st.dictionaries(st.sampled_from("abcdef"), _RECORD, max_size=5)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=_LISTS, second=_LISTS)
async def test_one_list_after_another_is_the_other_and_its_history(
    sync_database: Database, first: dict[str, Any], second: dict[str, Any]
) -> None:
    both, alone = (Target("acme", uuid4(), uuid4(), "simple") for _ in range(2))
    result = RunResult()
    async with sync_database.begin(tenant="acme") as connection:
        await write(connection, both, batch_of(lines(first)), RunResult())
    async with sync_database.begin(tenant="acme") as connection:
        changes = await write(connection, both, batch_of(lines(second)), result)
    async with sync_database.begin(tenant="acme") as connection:
        await write(connection, alone, batch_of(lines(second)), RunResult())
    found = [await sync_database.fetch(_ROWS, target.source, list(second)) for target in (both, alone)]
    assert [tuple(row) for row in found[0]] == [tuple(row) for row in found[1]]
    assert result.inserted == len(second.keys() - first.keys())
    assert result.inserted + result.updated + result.unchanged == len(second)
    assert len(changes) == result.inserted + result.updated
    assert all(change.fields for change in changes if change.what == "updated")
    assert all(before != after for change in changes for before, after in change.fields.values())
    again = RunResult()
    async with sync_database.begin(tenant="acme") as connection:
        assert await write(connection, both, batch_of(lines(second)), again) == []
    assert again.unchanged == len(second)
