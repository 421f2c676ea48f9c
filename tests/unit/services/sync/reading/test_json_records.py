"""Records of JSON: found by a scan, the same as a parser finds."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.contracts.sync import SourceSpec
from services.sync.reading import json_records as module
from services.sync.reading.answers import About
from services.sync.reading.json_records import json_records
from services.sync.reading.mapping import Unreadable
from services.sync.refusals import UnreadableBody

ABOUT = About("https://example.org/")


def spec(records: str | None = None, paging: dict[str, Any] | None = None, **mapping: str) -> SourceSpec:
    return SourceSpec.model_validate(
        {
            "url": "https://example.org/",
            "format": "json",
            "mapping": {"records": records} | mapping,
            "paging": paging or {"kind": "none"},
        }
    )


def cursor(expression: str) -> dict[str, Any]:
    return {"kind": "cursor", "parameter": "after", "cursor": expression}


def records(body: bytes, source: SourceSpec) -> list[Any]:
    return list(json_records(body, source, ABOUT).records)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=15,
)


@pytest.fixture(params=[0, 10**6], autouse=True)
def at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test reads its answers in both ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AT_ONCE_BYTES", request.param)
        yield


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    elements=st.lists(VALUES, max_size=5),
    around=st.dictionaries(st.text(max_size=4), VALUES, max_size=3),
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
)
def test_the_same_records_as_a_parser_finds(
    elements: list[Any], around: dict[str, Any], indent: int | None, is_ascii: bool
) -> None:
    answer = around | {"data": around | {"items": elements}} | {"next": "n"}
    body = json.dumps(answer, indent=indent, ensure_ascii=is_ascii).encode()
    found = json_records(body, spec("data.items", cursor("next")), ABOUT)
    assert found.told == "n"
    assert list(found.records) == elements
    assert records(json.dumps(elements, indent=indent).encode(), spec()) == elements


def test_no_answer_is_parsed_as_a_whole_if_a_path_leads_to_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def loads(text: bytes) -> Any:
        parsed.append(len(text))
        return orjson.loads(text)

    monkeypatch.setattr(module, "_parsed", loads)
    monkeypatch.setattr(module, "AT_ONCE_BYTES", 1_000)
    body = orjson.dumps({"a": {"b": [{"id": number, "text": "x" * 100} for number in range(1_000)]}, "next": 1})
    assert len(records(body, spec("a.b", cursor("a.b[-1].id")))) == 1_000
    assert max(parsed) < 500


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("next", 7),
        ("items[-1].id", 3),
        ("items[0].id", 1),
        ("items[1].id", 2),
        ("length(items)", 3),
        ("missing", None),
    ],
)
def test_what_is_told_of_the_next_page(expression: str, told: Any) -> None:
    body = orjson.dumps({"items": [{"id": 1}, {"id": 2}, {"id": 3}], "next": 7})
    found = json_records(body, spec("items", cursor(expression)), ABOUT)
    assert found.told == told
    assert len(list(found.records)) == 3


@pytest.mark.parametrize("expression", ["items[?kind == 'a']", "items[].x | [?kind]", "not_null(items)"])
def test_expressions_that_are_no_path(expression: str) -> None:
    body = orjson.dumps({"items": [{"kind": "a", "x": {"kind": 1}}, {"kind": "b", "x": {}}]})
    assert records(body, spec(expression))


def test_rows_are_named() -> None:
    body = orjson.dumps({"fields": [{"id": "a"}, {"id": "b"}], "records": [[1, 2], [3], [4, 5, 6], "x"]})
    named = records(body, spec("records", fields="fields[].id"))
    assert named == [{"a": 1, "b": 2}, {"a": 3}, {"a": 4, "b": 5}, "x"]


@pytest.mark.parametrize(
    ("body", "source"),
    [
        (b"", spec()),
        (b"   ", spec()),
        (b"<html>", spec()),
        (b"<html>", spec("a")),
        (b"{}", spec()),
        (b'{"error": "no"}', spec("items")),
        (b'{"items": "none"}', spec("items")),
        (b'{"items": {"a": 1}}', spec("items")),
        (b'[{"a": 1}, {"a":', spec()),
        (b'[{"a": 1}', spec()),
        (b'[{"a": 1} {"b": 2}]', spec()),
        (b'{"items": [1, 2], "more": ', spec("items")),
        (b'{"items": [1, 2]} trailing', spec("items")),
        (b'{"items": ["', spec("items")),
        (b"[" * 100_000, spec()),
        (b'{"items":' * 100_000, spec("items.items")),
        (b'{"items": [1], "fields": 3}', spec("items", fields="fields")),
        (b'{"items": [1]}', spec("sum(items[0])")),
    ],
)
def test_what_is_no_answer(body: bytes, source: SourceSpec) -> None:
    with pytest.raises(UnreadableBody):
        records(body, source)


def test_the_beginning_is_told_and_no_more() -> None:
    with pytest.raises(UnreadableBody) as refused:
        records(b"<html>\x1b[31m" + b"secret " * 1_000, spec())
    assert "It begins: <html> [31msecret" in str(refused.value)
    assert len(str(refused.value)) < 400


def test_null_is_no_record() -> None:
    assert records(b'{"items": null}', spec("items")) == []
    assert records(b'{"a": {"items": []}}', spec("a.items")) == []


def test_a_bad_record_costs_no_other() -> None:
    found = records(b'[{"id": 1}, {"id": 2,}, {"id": NaN}, {bad}, {"id": "\\ud800"}, {"id": 6}]', spec())
    assert [one["id"] if isinstance(one, dict) else type(one) for one in found][::5] == [1, 6]
    assert [type(one) for one in found] == [dict, Unreadable, dict, Unreadable, dict, dict]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(encoding: str) -> None:
    assert records('[{"a": "é€"}]'.encode(encoding), spec()) == [{"a": "é€"}]
    about = About("https://example.org/", "application/json; charset=iso-8859-1")
    assert list(json_records('["é"]'.encode("latin-1"), spec(), about).records) == ["é"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text('{}[]",:\\ 12a', max_size=40).map(str.encode))
def test_nothing_else_happens(body: bytes) -> None:
    for source in (spec(), spec("a"), spec("a.b", cursor("c")), spec("a[0]")):
        try:
            records(body, source)
        except UnreadableBody:
            continue
