"""Searches, changes and matches by HTTP: what is asked for, what is refused, and what waits."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from services.sync import searching
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.searching import CURSORS, Library, in_days

SLOW = "(SELECT now() FROM pg_sleep(60))"


async def test_a_search_by_http(gateway: Gateway, library: Library) -> None:
    for n in range(3):
        await library.add(str(n), f"Rural water {n}", agency="Port, of Argos", closes_at=in_days(n + 1))
    await library.add("other", "Rural water loan", agency="Guild")
    client = await gateway.client()
    asked: dict[str, Any] = {
        "q": '"rural water" -loan', "facets": "status,agency", "limit": 2, "agency": ["Port, of Argos", "Guild"],
        "status": "open,closed",
    }  # fmt: skip
    first = (await client.get("/v1/opportunities", params=asked)).json()
    assert [one["id"] for one in first["opportunities"]] == [library.ids["0"], library.ids["1"]]
    assert first["facets"] == {"status": {"open": 3}, "agency": {"Port, of Argos": 3}}
    assert first["exact"] is True
    second = (await client.get("/v1/opportunities", params=asked | {"cursor": first["next_cursor"]})).json()
    assert ([one["id"] for one in second["opportunities"]], second["next_cursor"]) == ([library.ids["2"]], None)
    other = await client.get("/v1/opportunities", params={"q": "else", "cursor": first["next_cursor"]})
    assert_problem(other, 400, "bad-request")


@pytest.mark.parametrize(
    "query",
    [
        {"order": "relevance"},
        {"order": "best"},
        {"status": "lost"},
        {"facets": "title"},
        {"fields": "raw"},
        {"limit": 101},
        {"q": "x" * 801},
        {"agency": [str(n) for n in range(21)]},
        {"source": ",".join(["a"] * 21)},
        {"closes_before": "2030-01-01T00:00:00"},
        {"amount_min": "nan"},
        {"amount_min": "-1"},
        {"limits": 1},
    ],
)
async def test_what_is_wrong_is_named(gateway: Gateway, query: dict[str, Any]) -> None:
    client = await gateway.client()
    problem = assert_problem(await client.get("/v1/opportunities", params=query), 422, "invalid")
    assert problem["errors"]


async def test_one_opportunity_and_its_history(gateway: Gateway, library: Library) -> None:
    id_ = await library.add("a", "Dredging", summary="x" * 400, closes_at=in_days(1))
    async with library.database.begin() as connection:
        for number in range(3):
            await library.change(connection, "a", number, {"title": [str(number), str(number + 1)]})
    client = await gateway.client()
    shown = (await client.get(f"/v1/opportunities/{id_}")).json()
    assert (shown["title"], len(shown["summary"]), shown["raw"]) == ("Dredging", 400, {"key": "a"})
    path = f"/v1/opportunities/{id_}/history"
    first = (await client.get(path, params={"limit": 2})).json()
    rest = (await client.get(path, params={"cursor": first["next_cursor"]})).json()
    told = [change["fields"] for change in first["changes"] + rest["changes"]]
    assert told == [{"title": [str(n), str(n + 1)]} for n in range(3)]
    assert rest["next_cursor"] is None
    stranger = await gateway.client("another")
    for unknown in (f"/v1/opportunities/{id_}", path):
        assert_problem(await stranger.get(unknown), 404, "not-found")
    assert_problem(await client.get("/v1/opportunities/opp_1"), 404, "not-found")
    assert_problem(await client.get(path, params={"cursor": "x"}), 422, "invalid")


async def test_changes_go_on_where_they_ended_and_wait(gateway: Gateway, library: Library) -> None:
    await library.add("a")
    client = await gateway.client()
    empty = (await client.get("/v1/changes", params={"wait": 0})).json()
    assert empty["changes"] == []
    waiting = asyncio.create_task(client.get("/v1/changes", params={"cursor": empty["next_cursor"], "wait": 30}))
    async with library.database.begin() as connection:
        await library.change(connection, "a", 1, {"title": ["b", "a"]})
    told = (await waiting).json()
    assert [(one["opportunity"], one["fields"]) for one in told["changes"]] == [
        (library.ids["a"], {"title": ["b", "a"]})
    ]
    again = (await client.get("/v1/changes", params={"cursor": told["next_cursor"]})).json()
    assert again["changes"] == []
    assert_problem(await client.get("/v1/changes", params={"cursor": "AAAA"}), 400, "bad-request")
    old = CURSORS.issue(b"changes of dev", ["elsewhere", "1-1"])
    assert_problem(await client.get("/v1/changes", params={"cursor": old}), 410, "gone")


async def test_who_waits_is_answered_when_the_gateway_stops(gateway: Gateway, library: Library) -> None:
    client = await gateway.client()
    waiting = asyncio.create_task(client.get("/v1/changes", params={"wait": 30}))
    gateway.app.state.draining.set()
    async with asyncio.timeout(25):
        assert (await waiting).json()["changes"] == []


async def test_a_text_is_matched(gateway: Gateway, library: Library) -> None:
    await library.add("wells", "Wells for villages")
    client = await gateway.client()
    answer = (await client.post("/v1/opportunities/match", json={"text": "We dig wells"})).json()
    assert answer["method"] == "words"
    assert [(one["id"], one["words"]) for one in answer["opportunities"]] == [(library.ids["wells"], ["well"])]
    assert_problem(await client.post("/v1/opportunities/match", json={"text": ""}), 422, "invalid")


async def test_a_search_that_takes_too_long(
    gateway: Gateway, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library.add("a")
    monkeypatch.setattr(searching, "_CAREFULLY", "SELECT set_config('statement_timeout', '50', true)")
    monkeypatch.setitem(searching._ORDERS, "closes", replace(searching._ORDERS["closes"], value=SLOW))
    client = await gateway.client()
    problem = assert_problem(await client.get("/v1/opportunities"), 503, "service-unavailable")
    assert "two seconds" in problem["detail"]
    monkeypatch.undo()
    assert (await client.get("/v1/opportunities")).status_code == 200
