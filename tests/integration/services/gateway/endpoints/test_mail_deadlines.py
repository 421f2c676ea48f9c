"""/v1/deadlines from outside, and the recurring letters that remind of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.endpoints import mail_deadlines
from services.gateway.endpoints.service_client import call_service
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role, Scope
from services.sync.sources import delete as delete_source
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.mailing import Mailer
from tests.polling import until
from tests.relay import Relay
from tests.searching import Library, in_days

SOON = (datetime.now(UTC) + timedelta(days=2)).isoformat()
DEADLINE: dict[str, Any] = {
    "due_at": SOON,
    "variables": {"title": "Dredging"},
    "followers": [{"to": "Ada <ada@one.test>", "time_zone": "Europe/Berlin"}, {"to": "bob@two.test"}],
}
REMINDER = {
    "from": "Harbour <office@argosy.test>",
    "subject": "{{ title }}: {{ deadline.days_left }} days",
    "text": "Until {{ deadline.date }}.",
    "days_before": [7, 2],
}


async def test_deadlines_are_kept_shown_listed_and_removed(gateway: Gateway, mailer: Mailer) -> None:
    client, other = await gateway.client(), await gateway.client("other")
    kept = await client.put("/v1/deadlines/tender:7", json=DEADLINE)
    assert kept.status_code == 200, kept.text
    shown = (await client.get("/v1/deadlines/tender:7")).json()
    assert shown == kept.json()
    assert datetime.fromisoformat(shown["due_at"]) == datetime.fromisoformat(SOON)
    assert shown["variables"] == {"title": "Dredging"}
    assert shown["followers"] == [
        {"to": "Ada <ada@one.test>", "variables": {}, "time_zone": "Europe/Berlin", "reminded_days": None},
        {"to": "bob@two.test", "variables": {}, "time_zone": None, "reminded_days": None},
    ]
    await client.put("/v1/deadlines/tender:8", json={"due_at": SOON})
    first = (await client.get("/v1/deadlines?limit=1")).json()
    assert [(d["name"], d["followers"]) for d in first["deadlines"]] == [("tender:7", 2)]
    rest = (await client.get(f"/v1/deadlines?cursor={first['next_cursor']}")).json()
    assert ([d["name"] for d in rest["deadlines"]], rest["next_cursor"]) == (["tender:8"], None)
    assert (await other.get("/v1/deadlines")).json()["deadlines"] == []
    for method in ("GET", "DELETE"):
        assert_problem(await other.request(method, "/v1/deadlines/tender:7"), 404, "not-found")
    assert (await client.delete("/v1/deadlines/tender:7")).status_code == 204
    assert_problem(await client.get("/v1/deadlines/tender:7"), 404, "not-found")


async def test_variables_are_kept_as_they_are(gateway: Gateway, mailer: Mailer) -> None:
    client = await gateway.client()
    variables = {"large": 10**30, "small": 1e-99, "one": 1.0, "text": "☂\u2028", "list": [None, True, {"": {}}]}
    kept = (await client.put("/v1/deadlines/d", json=DEADLINE | {"variables": variables})).json()
    assert (kept["variables"], str(kept["variables"]["one"])) == (variables, "1.0")
    assert (await client.put("/v1/deadlines/d", json=DEADLINE | {"variables": {"x": 1.5e308}})).status_code == 200
    letter = {"from": "office@argosy.test", "recipients": [{"to": "ada@one.test", "variables": variables}]}
    schedule = {"name": "large", "queue": "mailer", "cron": "0 8 * * *", "payload": letter}
    assert (await client.post("/v1/schedules", json=schedule)).status_code == 201


async def test_what_a_caller_can_write_can_be_kept_and_read(gateway: Gateway, mailer: Mailer) -> None:
    """Nested as deeply as the door lets in, and as large; what is more than that is told so."""
    client = await gateway.client()
    told = set[int]()
    for depth in range(190, 205):
        body = b'{"due_at":"2030-01-01T00:00:00Z","variables":{"x":' + b"[" * depth + b"]" * depth + b"}}"
        kept = await client.put("/v1/deadlines/d", content=body, headers={"Content-Type": "application/json"})
        told.add(kept.status_code)
        assert (await client.get("/v1/deadlines/d")).status_code == 200
    assert told == {200, 413}
    many = [{"to": f"f{n}@one.test", "variables": {"x": [1e308] * 200}} for n in range(300)]
    assert (await client.put("/v1/deadlines/d", json=DEADLINE | {"followers": many})).status_code == 200
    assert len((await client.get("/v1/deadlines/d")).json()["followers"]) == 300
    more = [follower | {"to": f"x{n}@one.test"} for n, follower in enumerate(many * 3)]
    assert_problem(await client.put("/v1/deadlines/d", json=DEADLINE | {"followers": more}), 413, "too-large")


async def test_a_wrong_deadline_is_refused_with_all_that_is_wrong(gateway: Gateway, mailer: Mailer) -> None:
    client = await gateway.client()
    wrong: list[dict[str, Any]] = [
        {},
        {"due_at": "tomorrow"},
        {"due_at": "2030-01-01T12:00:00"},
        DEADLINE | {"followers": [{"to": "nobody"}]},
        DEADLINE | {"followers": [{"to": "ada@one.test"}, {"to": "Ada <ADA@one.test>"}]},
        DEADLINE | {"followers": [{"to": f"f{n}@one.test"} for n in range(1001)]},
        DEADLINE | {"variables": {"text": "x" * 20_000}},
        DEADLINE | {"followers": [{"to": "ada@one.test", "variables": {"text": "x" * 20_000}}]},
        DEADLINE | {"when": SOON},
    ]
    for body in wrong:
        assert_problem(await client.put("/v1/deadlines/tender", json=body), 422, "invalid")
    assert_problem(await client.put("/v1/deadlines/-tender", json=DEADLINE), 422, "invalid")
    others: list[dict[str, Any]] = [{"to": ["ada@one.test"]}, {"cc": ["ada@one.test"]}]
    others += [{"deadlines": "a b"}, {"time_zone": "localtime"}]
    for more in [*others, {"days_before": [-1]}, {"days_before": []}, {"days_before": [], "deadlines": "a"}]:
        assert_problem(await client.post("/v1/mail", json=REMINDER | more), 422, "invalid")
    assert (await client.get("/v1/deadlines")).json()["deadlines"] == []


async def test_a_schedule_reminds_of_what_is_near_and_of_nothing_twice(
    gateway: Gateway,
    mailer: Mailer,
    relay: Relay,
) -> None:
    client = await gateway.client()
    now = datetime.now(UTC)
    near, far = ((now + timedelta(days=days)).isoformat() for days in (2, 30))
    followers = [{"to": "ada@one.test"}, {"to": "bob@two.test"}]  # at one place the days are the same for both
    await client.put("/v1/deadlines/tender", json=DEADLINE | {"due_at": near, "followers": followers})
    await client.put("/v1/deadlines/far", json=DEADLINE | {"due_at": far})
    body = {"name": "reminders", "queue": "mailer", "cron": "0 8 * * *", "payload": REMINDER}
    schedule = (await client.post("/v1/schedules", json=body)).json()

    async def run() -> dict[str, Any]:
        job = (await client.post(f"/v1/schedules/{schedule['id']}/run")).json()

        async def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = (await client.get(f"/v1/jobs/{job['id']}")).json()
            return found if found["state"] == "succeeded" else None

        found = await until(ended)
        assert found is not None
        return found

    assert (await run())["result"] == {"recipients": 2, "sent": 2}
    midnights = (datetime.now(UTC).date() - now.date()).days
    days = {delivery.message["Subject"] for delivery in relay.deliveries}
    assert days in [{f"Dredging: {2 - passed} days"} for passed in range(midnights + 1)]
    assert (await run())["result"] == {"recipients": 0}
    assert len(relay.deliveries) == 2
    followers = (await client.get("/v1/deadlines/tender")).json()["followers"]
    assert [follower["reminded_days"] for follower in followers] == [2, 2]


async def test_a_deadline_follows_an_opportunity(gateway: Gateway, mailer: Mailer, library: Library) -> None:
    id_ = await library.add("a", "Wells", agency="Port", url="https://a.test", closes_at=in_days(9))
    client = await gateway.client()
    body = {"opportunity": id_, "followers": [{"to": "ada@one.test"}]}
    kept = await client.put("/v1/deadlines/wells", json=body)
    assert kept.status_code == 200, kept.text
    assert kept.json()["opportunity"] == id_
    assert kept.json()["variables"] == {
        "title": "Wells", "url": "https://a.test", "agency": "Port", "closes_on": None,
    }  # fmt: skip
    more = {"opportunity": id_, "add_followers": [{"to": "bob@one.test"}]}
    both = (await client.put("/v1/deadlines/wells", json=more)).json()
    assert [one["to"] for one in both["followers"]] == ["ada@one.test", "bob@one.test"]
    await library.move("a", closes_at=in_days(20))

    async def has_moved() -> bool:
        found = (await client.get("/v1/deadlines/wells")).json()
        return datetime.fromisoformat(found["due_at"]) == in_days(20)

    await until(has_moved)
    stranger = await gateway.client("another")
    assert_problem(await stranger.put("/v1/deadlines/wells", json=body), 404, "not-found")


@pytest.mark.parametrize("question", [1, 2])
async def test_what_moves_while_it_is_put_is_not_missed(
    gateway: Gateway, mailer: Mailer, library: Library, monkeypatch: pytest.MonkeyPatch, question: int
) -> None:
    """It moves after each of the gateway's two questions, and the mailer is told of it before anything else."""
    id_ = await library.add("a", "Wells", closes_at=in_days(9))
    asked = 0

    async def answer(request: Any, service: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        nonlocal asked
        found = await call_service(request, service, name, arguments)
        if name == "get_opportunity":
            asked += 1
            if asked == question:
                await library.move("a", closes_at=in_days(20))
                await mailer.all_ended()
        return found

    monkeypatch.setattr(mail_deadlines, "call_service", answer)
    client = await gateway.client()
    kept = await client.put("/v1/deadlines/wells", json={"opportunity": id_})
    assert kept.status_code == 200, kept.text
    found = (await client.get("/v1/deadlines/wells")).json()
    assert datetime.fromisoformat(found["due_at"]) == in_days(20)
    assert asked == (3 if question == 1 else 2)


async def test_who_follows_what_a_deleted_source_listed_is_told_so(
    gateway: Gateway, mailer: Mailer, library: Library
) -> None:
    id_ = await library.add("a", "Wells", closes_at=in_days(2))
    client = await gateway.client()
    body = {"opportunity": id_, "followers": [{"to": "ada@one.test"}]}
    assert (await client.put("/v1/deadlines/wells", json=body)).json()["gone_at"] is None
    waiting = {**REMINDER, "local_time": "23:59", "quiet_hours": {"begin": "00:00", "end": "23:59"}}
    letter = (await client.post("/v1/mail", json=waiting)).json()["id"]

    async def reminder() -> str | None:
        found = (await client.get(f"/v1/mail/{letter}/recipients")).json().get("recipients")
        return found[0]["state"] if found else None

    assert await until(reminder) == "queued"
    await delete_source(library.database, "dev", "harbour")

    async def is_gone() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get("/v1/deadlines/wells")).json()
        return found if found["gone_at"] else None

    found = await until(is_gone)
    assert found is not None
    assert (found["due_at"], found["variables"]["title"]) == (None, "Wells")
    assert [one["to"] for one in found["followers"]] == ["ada@one.test"]
    assert await reminder() == "cancelled"
    (listed,) = (await client.get("/v1/deadlines")).json()["deadlines"]
    assert listed["gone_at"] == found["gone_at"]


async def test_what_is_deleted_while_it_is_put_is_gone(
    gateway: Gateway, mailer: Mailer, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mailer is told of it before there is the deadline."""
    id_ = await library.add("a", "Wells", closes_at=in_days(9))
    asked: list[str] = []

    async def answer(request: Any, service: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        found = await call_service(request, service, name, arguments)
        if name == "get_opportunity":
            asked.append(name)
            if len(asked) == 1:
                await delete_source(library.database, "dev", "harbour")
                await mailer.all_ended()
        return found

    monkeypatch.setattr(mail_deadlines, "call_service", answer)
    client = await gateway.client()
    put = (await client.put("/v1/deadlines/wells", json={"opportunity": id_})).json()
    assert (put["due_at"], put["gone_at"] is None) == (None, False)


async def test_what_follows_must_be_allowed_and_be_one_thing(
    gateway: Gateway, mailer: Mailer, library: Library
) -> None:
    id_ = await library.add("a")
    key = await issue(gateway.database, "dev", "dev", "mail", Role.MEMBER, scopes=frozenset({Scope.MAIL_WRITE}))
    client = gateway.anonymous(Authorization=f"Bearer {key.key}")
    assert_problem(await client.put("/v1/deadlines/d", json={"opportunity": id_}), 403, "forbidden")
    client = await gateway.client()
    one = [{"to": "ada@one.test"}]
    wrong: list[dict[str, Any]] = [
        {"opportunity": id_, "due_at": SOON},
        {"opportunity": id_, "variables": {"title": "x"}},
        {"opportunity": "opp_1"},
        {"due_at": SOON, "followers": one, "add_followers": one},
        {"followers": one},
    ]
    for body in wrong:
        assert_problem(await client.put("/v1/deadlines/d", json=body), 422, "invalid")
    unknown = {"opportunity": "opp_" + "0" * 32}
    assert_problem(await client.put("/v1/deadlines/d", json=unknown), 404, "not-found")
