"""/v1/searches from outside: a letter comes of what is new, and what is wrong is named."""

from typing import Any

import pytest

from libs.common.errors import Unavailable
from libs.common.ledger import schedules
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role, Scope
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.mailing import Mailer
from tests.polling import until
from tests.relay import Relay
from tests.syncing import Syncer, listing, spec_of

WAIT = {"Prefer": "wait=30"}
SEARCH: dict[str, Any] = {
    "filter": {"q": "water"},
    "cron": "0 7 * * mon-fri",
    "timezone": "Europe/Berlin",
    "letter": {
        "from": "Harbour <office@argosy.test>",
        "subject": "{{ new }} new for {{ search }}, {{ who }}",
        "text": "{% for one in opportunities %}{{ one.title }}, {{ one.source }}\n{% endfor %}",
        "recipients": [
            {"to": "Ada <ada@one.test>", "variables": {"who": "Ada"}},
            {"to": "bob@two.test", "variables": {"who": "Bob"}},
        ],
    },
}
URL = "https://example.org/grants.json"


async def test_a_letter_has_what_is_new(gateway: Gateway, syncer: Syncer, mailer: Mailer, relay: Relay) -> None:
    client = await gateway.client()
    saved = await client.put("/v1/searches/water", json=SEARCH)
    assert saved.status_code == 200, saved.text
    schedule = saved.json()["schedule"]
    await client.put("/v1/sources/grants", json=spec_of(url=URL))
    syncer.shelf.listed[URL] = [listing(1, 2)]
    assert (await client.post("/v1/sync", json={"source": "grants"}, headers=WAIT)).json()["state"] == "succeeded"

    async def letter() -> str | None:
        run = (await client.post(f"/v1/schedules/{schedule}/run", headers=WAIT)).json()
        assert run["state"] == "succeeded", run
        found: str | None = run["result"]["letter"]
        return found

    job = (await client.get(f"/v1/jobs/{await until(letter)}")).json()
    assert job["queue"] == "mailer"

    async def are_sent() -> bool:
        return len(relay.deliveries) == 2

    await until(are_sent)
    assert {delivery.message["Subject"] for delivery in relay.deliveries} == {
        "2 new for water, Ada",
        "2 new for water, Bob",
    }
    assert "Grant 1, grants" in relay.deliveries[0].message.get_content()
    assert (await client.post(f"/v1/schedules/{schedule}/run", headers=WAIT)).json()["result"]["letter"] is None
    assert (await client.get("/v1/searches/water")).json()["told_at"]


async def test_it_is_shown_listed_put_again_and_removed(gateway: Gateway, syncer: Syncer) -> None:
    client, other = await gateway.client(), await gateway.client("other")
    saved = (await client.put("/v1/searches/water", json=SEARCH)).json()
    shown = (await client.get("/v1/searches/water")).json()
    assert shown == saved
    assert (shown["cron"], shown["timezone"], len(shown["next"])) == ("0 7 * * mon-fri", "Europe/Berlin", 5)
    again = {name: shown[name] for name in SEARCH}
    assert (await client.put("/v1/searches/water", json=again)).json() == shown
    later = (await client.put("/v1/searches/water", json=again | {"cron": "30 9 1 * *"})).json()
    assert (later["schedule"], later["cron"]) == (shown["schedule"], "30 9 1 * *")
    (listed,) = (await client.get("/v1/searches")).json()["searches"]
    assert listed == {name: value for name, value in later.items() if name != "letter"}
    (schedule,) = (await client.get("/v1/schedules")).json()["schedules"]
    assert (schedule["name"], schedule["kind"], schedule["id"]) == ("search:water", "search", shown["schedule"])
    assert (await other.get("/v1/searches")).json()["searches"] == []
    for method in ("GET", "DELETE"):
        assert_problem(await other.request(method, "/v1/searches/water"), 404, "not-found")
    assert (await client.delete("/v1/searches/water")).status_code == 204
    assert (await client.get("/v1/schedules")).json()["schedules"] == []
    assert_problem(await client.get("/v1/searches/water"), 404, "not-found")


async def test_its_schedule_can_be_paused_and_made_anew(gateway: Gateway, syncer: Syncer) -> None:
    client = await gateway.client()
    schedule = (await client.put("/v1/searches/water", json=SEARCH)).json()["schedule"]
    await client.patch(f"/v1/schedules/{schedule}", json={"paused": True})
    put = (await client.put("/v1/searches/water", json=SEARCH)).json()
    assert (put["paused"], put["next"]) == (True, [])
    await client.delete(f"/v1/schedules/{schedule}")
    found = (await client.get("/v1/searches/water")).json()
    assert (found["schedule"], found["cron"], found["next"]) == (None, None, [])
    assert (await client.put("/v1/searches/water", json=SEARCH)).json()["schedule"] == schedule


async def test_what_was_cut_off_in_between_is_made_good(
    gateway: Gateway, syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await gateway.client()
    create = schedules.create

    async def die(*_given: Any, **_named: Any) -> None:
        raise Unavailable("It is away.")

    monkeypatch.setattr(schedules, "create", die)
    assert (await client.put("/v1/searches/water", json=SEARCH)).status_code == 503
    assert (await client.get("/v1/searches/water")).json()["schedule"] is None
    monkeypatch.setattr(schedules, "create", create)
    assert (await client.put("/v1/searches/water", json=SEARCH)).json()["schedule"]


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("Water", {}, "path.name"),
        ("water", {"cron": "0 25 * * *"}, "body.cron"),
        ("water", {"cron": "every day"}, "body.cron"),
        ("water", {"timezone": "Mars/Olympus"}, "body.timezone"),
        ("water", {"filter": {"status": []}}, "body.filter.status"),
        ("water", {"filter": {"order": "newest"}}, "body.filter.order"),
        ("water", {"letter": SEARCH["letter"] | {"recipients": []}}, "body.letter"),
        ("water", {"letter": {"from": "a@one.test", "to": ["ada@one.test"]}}, "body.letter"),
        (
            "water",
            {"letter": SEARCH["letter"] | {"recipients": [{"to": f"f{n}@one.test"} for n in range(101)]}},
            "body.letter",
        ),
    ],
)
async def test_what_is_wrong_is_named(
    gateway: Gateway, syncer: Syncer, name: str, change: dict[str, Any], field: str
) -> None:
    client = await gateway.client()
    answer = await client.put(f"/v1/searches/{name}", json=SEARCH | change)
    problem = assert_problem(answer, 422, "invalid")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert (await client.get("/v1/searches")).json()["searches"] == []


async def test_who_saves_a_search_may_write_letters(gateway: Gateway, syncer: Syncer) -> None:
    scopes = frozenset({Scope.SYNC_WRITE, Scope.SYNC_READ})
    key = await issue(gateway.database, "dev", "dev", "sync", Role.MEMBER, scopes=scopes)
    client = gateway.anonymous(Authorization=f"Bearer {key.key}")
    assert_problem(await client.put("/v1/searches/water", json=SEARCH), 403, "forbidden")
    reader = await gateway.client(role=Role.READ)
    assert_problem(await reader.put("/v1/searches/water", json=SEARCH), 403, "forbidden")
    assert (await reader.get("/v1/searches")).json()["searches"] == []


async def test_a_schedule_of_the_callers_own_with_that_name_is_in_the_way(
    gateway: Gateway, syncer: Syncer
) -> None:
    client = await gateway.client()
    await client.put("/v1/sources/grants", json=spec_of())
    own = {"name": "search:water", "queue": "sync", "cron": "0 8 * * *", "payload": {"source": "grants"}}
    assert (await client.post("/v1/schedules", json=own)).status_code == 201
    assert_problem(await client.put("/v1/searches/water", json=SEARCH), 409, "conflict")
