"""/v1/event-types from outside."""

from typing import Any

import pytest

from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem

TYPE: dict[str, Any] = {"schema": {"type": "object"}, "dimensions": ["page"], "value": "amount"}


async def test_types_are_stored_shown_and_listed(gateway: Gateway, analytics: None) -> None:
    admin, other = await gateway.client(role=Role.ADMIN), await gateway.client("other")
    put = await admin.put("/v1/event-types/shop.apply", json=TYPE)
    assert put.status_code == 200, put.text
    shown = (await admin.get("/v1/event-types/shop.apply")).json()
    assert shown.items() >= TYPE.items()
    assert (shown["name"], shown["version"]) == ("shop.apply", 1)
    await admin.put("/v1/event-types/view", json={})
    first = (await admin.get("/v1/event-types", params={"limit": 1})).json()
    assert [one["name"] for one in first["types"]] == ["shop.apply"]
    rest = (await admin.get("/v1/event-types", params={"cursor": first["next_cursor"]})).json()
    assert ([one["name"] for one in rest["types"]], rest["next_cursor"]) == (["view"], None)
    assert (await other.get("/v1/event-types")).json()["types"] == []
    assert_problem(await other.get("/v1/event-types/view"), 404, "not-found")


async def test_a_change_counts_anew_in_one_job_however_often_it_is_sent(gateway: Gateway, analytics: None) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    await admin.put("/v1/event-types/view", json=TYPE)
    answers = [await admin.put("/v1/event-types/view", json=TYPE | {"dimensions": ["site"]}) for _ in range(2)]
    assert [answer.json()["version"] for answer in answers] == [2, 2]
    location = answers[0].headers["location"]
    job = (await admin.get(location)).json()
    assert (job["queue"], job["kind"]) == ("analytics", "rebuild")


@pytest.mark.parametrize(
    ("name", "body", "fields"),
    [
        ("Apply", {}, {"path.name"}),
        ("apply", {"dimensions": list("abcdef")}, {"body.dimensions"}),
        ("apply", {"dimensions": [""], "value": 7, "x": 1}, {"body.dimensions.0", "body.value", "body.x"}),
        ("apply", {"schema": {"type": "no such type"}}, {"body.schema"}),
    ],
)
async def test_a_wrong_type_is_refused(
    gateway: Gateway, analytics: None, name: str, body: dict[str, Any], fields: set[str]
) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    problem = assert_problem(await admin.put(f"/v1/event-types/{name}", json=body), 422, "invalid")
    assert {error["field"] for error in problem["errors"]} == fields
    assert_problem(await admin.get(f"/v1/event-types/{name}"), 404, "not-found")
