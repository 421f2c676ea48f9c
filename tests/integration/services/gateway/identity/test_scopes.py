"""Scopes over HTTP: who has one gets in, nobody else does."""

from typing import Any

import pytest

from services.gateway.identity.scopes import OPERATOR, ROLES, Role, Scope
from services.gateway.routes import OPERATIONS
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload
from tests.integration.services.gateway.paths import filled


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.endpoint.__name__)
async def test_s4_every_operation_wants_its_scope(gateway: Gateway, operation: Any) -> None:
    """Every operation with every role: who has the scope gets past the door, nobody else does."""
    if operation.scope is None:
        assert operation.path in ("/v1/auth/token", "/v1/unsubscribe/{token}", "/v1/download/{token}")
        return
    path = filled(operation.path)
    assert (await gateway.anonymous().request(operation.method, path)).status_code == 401
    for role in Role:
        answer = await (await gateway.client(role=role)).request(operation.method, path)
        assert (answer.status_code == 403) == (operation.scope not in ROLES[role]), (role, answer.text)
    answer = await (await gateway.client(operator=True, role=Role.READ)).request(operation.method, path)
    assert (answer.status_code == 403) == (operation.scope not in ROLES[Role.READ] | OPERATOR)


async def test_s4_a_key_has_no_more_scopes_than_it_was_given(gateway: Gateway) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    made = await admin.post(
        "/v1/keys", json={"name": "web", "role": "admin", "scopes": ["ocr:write", "keys:write"]}
    )
    assert made.json()["scopes"] == ["keys:write", "ocr:write"]
    limited = gateway.anonymous(Authorization=f"Bearer {made.json()['key']}")
    assert (await limited.post("/v1/ocr", **upload())).status_code == 202
    assert_problem(await limited.get("/v1/jobs"), 403, "forbidden")
    for body in ({"name": "x", "role": "admin"}, {"name": "x", "scopes": [Scope.QUEUES_WRITE]}):
        assert_problem(await limited.post("/v1/keys", json=body), 403, "forbidden")
    assert (await limited.post("/v1/keys", json={"name": "x", "scopes": ["ocr:write"]})).status_code == 201


async def test_s4_a_public_key_sends_events_and_does_nothing_else(gateway: Gateway) -> None:
    """It tries every operation; those that are open to everybody need no key."""
    admin = await gateway.client(role=Role.ADMIN)
    made = await admin.post("/v1/keys", json={"name": "page", "role": "admin", "scopes": ["events:write"]})
    public = gateway.anonymous(Authorization=f"Bearer {made.json()['key']}")
    answered = {}
    for one in OPERATIONS:
        if one.scope is not None:
            answer = await public.request(one.method, filled(one.path), json={"events": [{"id": "7"}]})
            answered[one.method, one.path] = answer.status_code
    assert answered.pop(("POST", "/v1/events")) == 202
    assert len(answered) > 50
    assert set(answered.values()) == {403}


async def test_a_reading_key_cannot_submit(gateway: Gateway) -> None:
    client = await gateway.client(role=Role.READ)
    assert_problem(await client.post("/v1/ocr", **upload()), 403, "forbidden")
    assert (await client.get("/v1/jobs")).status_code == 200
