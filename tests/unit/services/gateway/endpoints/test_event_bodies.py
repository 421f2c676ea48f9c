"""Bodies with events: three formats, one shape, and nothing that the ledger cannot store."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.contracts.analytics import EVENTS_AT_MOST
from services.gateway.endpoints.event_bodies import MEDIA_TYPES, NOT_FINITE, read_events
from services.gateway.http.json_budgets import EVENTS_DEPTH_AT_MOST, EVENTS_VALUES_AT_MOST
from services.gateway.problems import BadRequest, Invalid, Problem, TooLarge

JSON, LINES, CLOUD = MEDIA_TYPES
EVENT = {"id": "7", "name": "apply", "time": "2026-11-27T10:00:00Z", "properties": {"page": "/jobs", "n": 12.5}}
CLOUD_EVENT = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "apply", "data": {"n": 1}}
UUID7 = "019ac4c1-6500-7000-8000-000000000000"


def read(body: bytes | str, media_type: str = JSON) -> list[Any]:
    events = read_events(body if isinstance(body, bytes) else body.encode(), media_type)
    listed: list[Any] = json.loads(b"[" + events.text + b"]")
    assert len(listed) == events.number
    return listed


def of(*events: Any) -> str:
    return json.dumps({"events": events})


def test_events_are_passed_on_as_they_are() -> None:
    large = EVENT | {"properties": {"n": 2**70, "s": "☂\u2028", "d": 1e-99, "l": [None, True, {"": {}}]}}
    assert read(of(EVENT, large)) == [EVENT, large]
    assert read("\n".join([json.dumps(EVENT), "", json.dumps(large), ""]), LINES) == [EVENT, large]
    assert read(json.dumps(EVENT) + "\r\n", LINES) == [EVENT]


@example(["a backslash before a word is no NUL: \\u0000", "\x00"])
@given(
    st.lists(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists), min_size=1, max_size=9)
)
def test_what_an_event_is_does_not_matter_here(events: list[Any]) -> None:
    assert read(of(*events)) == read("\n".join(map(json.dumps, events)), LINES) == without_nul(events)


def without_nul(value: Any) -> Any:
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    return value.replace("\x00", "") if isinstance(value, str) else value


def test_two_lists_of_events_are_refused_so_that_none_is_lost() -> None:
    twice = f'{{"events": [{json.dumps(EVENT)}], "events": []}}'
    with pytest.raises(Invalid) as refused:
        read(twice)
    assert [error["field"] for error in refused.value.members["errors"]] == ["body.events"]
    assert len(read(of({"events": 1, "name": '"events"'}))) == 1


def test_cloud_events_become_events() -> None:
    time = {"time": "2026-11-27T10:00:00Z", "subject": "u42"}
    assert read(json.dumps([CLOUD_EVENT | time, 7]), CLOUD) == [
        {"name": "apply", "properties": {"n": 1}, "id": "/shop/7", **time}, 7,
    ]  # fmt: skip


def test_a_cloud_event_without_time_has_that_of_its_id() -> None:
    (event,) = read(json.dumps([CLOUD_EVENT | {"id": UUID7}]), CLOUD)
    assert (event["id"], event["time"]) == (f"/shop/{UUID7}", "2025-11-27T10:00:00+00:00")
    for id_ in ("7", "ffffffff-ffff-7fff-8fff-ffffffffffff"):
        assert "time" not in read(json.dumps([CLOUD_EVENT | {"id": id_}]), CLOUD)[0]


def test_what_a_cloud_event_lacks_its_event_lacks() -> None:
    for name in ("id", "source"):
        (event,) = read(json.dumps([{key: value for key, value in CLOUD_EVENT.items() if key != name}]), CLOUD)
        assert event == {"name": "apply", "properties": {"n": 1}}
    assert read("[{}]", CLOUD) == [{}]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (r'"a\u0000b"', "ab"),
        (r'{"a\u0000": 1}', {"a": 1}),
        (r'"\ud800x"', "?x"),
        (r'"\\u0000"', r"\u0000"),
        ("NaN", NOT_FINITE),
        ("[-Infinity, 1]", [NOT_FINITE, 1]),
        ("1e999", NOT_FINITE),
        ("1e-99999", 0.0),
        ("9" * 400, int("9" * 400)),
    ],
)
def test_what_cannot_be_stored_is_replaced_and_costs_no_other_event(sent: str, kept: Any) -> None:
    body = of(EVENT, {"properties": {"x": "here"}}).replace('"here"', sent)
    assert read(body) == [EVENT, {"properties": {"x": kept}}]
    assert read(f"{json.dumps(EVENT)}\n{sent}", LINES) == [EVENT, kept]


def test_a_line_that_is_not_json_is_an_event_to_be_rejected() -> None:
    lines = [json.dumps(EVENT), '{"id": ', "1,2", "\x00"]
    assert read("\n".join(lines), LINES) == [EVENT, '{"id": ', "1,2", ""]
    assert read(b'{"a":1}\n\xff', LINES) == [{"a": 1}, "�"]
    assert read("[1\n2]\n3", LINES) == ["[1", "2]", 3]
    for body in ("<html>\n</html>", "{"):
        with pytest.raises(BadRequest, match="no line"):
            read(body, LINES)


@pytest.mark.parametrize(
    ("body", "media_type", "problem", "fields"),
    [
        ("", JSON, BadRequest, []),
        ("{", JSON, BadRequest, []),
        (b'{"events": ["\xff"]}', JSON, BadRequest, []),
        (b'\xff\xfe{\x00"\x00', JSON, BadRequest, []),
        ("[]", JSON, Invalid, ["body"]),
        ("{}", JSON, Invalid, ["body.events"]),
        ('{"events": {}, "x": 1}', JSON, Invalid, ["body.x", "body.events"]),
        ('{"events": []}', JSON, Invalid, ["body.events"]),
        (of(*range(EVENTS_AT_MOST + 1)), JSON, Invalid, ["body.events"]),
        ("1\n" * (EVENTS_AT_MOST + 1), LINES, Invalid, ["body.events"]),
        ("\n \n", LINES, Invalid, ["body.events"]),
        ("{}", CLOUD, Invalid, ["body"]),
        ("[]", CLOUD, Invalid, ["body.events"]),
        (
            of("here").replace('"here"', "[" * EVENTS_DEPTH_AT_MOST + "]" * EVENTS_DEPTH_AT_MOST),
            JSON,
            TooLarge,
            [],
        ),
        ("[" * 40 + "]" * 40, LINES, TooLarge, []),
        (of("here").replace('"here"', f"[1{',1' * EVENTS_VALUES_AT_MOST}]"), JSON, TooLarge, []),
        (of(0).replace("0", "9" * 2000), JSON, TooLarge, []),
    ],
)
def test_what_is_no_list_of_events_is_refused_as_a_whole(
    body: bytes | str, media_type: str, problem: type[Problem], fields: list[str]
) -> None:
    with pytest.raises(problem) as refused:
        read(body, media_type)
    assert [error["field"] for error in refused.value.members.get("errors", [])] == fields


@given(st.binary(max_size=200), st.sampled_from(MEDIA_TYPES))
def test_garbage_is_a_problem_or_events(garbage: bytes, media_type: str) -> None:
    try:
        assert read(garbage, media_type)
    except Problem:
        return
