"""/v1/templates, and how a template would look."""

import asyncio
from typing import Any

from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.mailing import Mailer
from tests.relay import Relay


def many(*names: str) -> list[dict[str, Any]]:
    return [{"to": f"{name}@example.test", "variables": {"name": name}} for name in names]


async def test_a_preview_sends_nothing(gateway: Gateway, mailer: Mailer, relay: Relay) -> None:
    client = await gateway.client()
    body = {"subject": "Ahoy {{ name }}", "html": "<p>Dear {{ name }}</p>", "variables": {"name": "<Ada>"}}
    shown = (await client.post("/v1/mail/preview", json=body)).json()
    assert shown == {
        "subject": "Ahoy <Ada>",
        "text": "Dear <Ada>\n",
        "html": "<p>Dear &lt;Ada&gt;</p>",
        "problem": None,
    }
    wrong = (await client.post("/v1/mail/preview", json=body | {"variables": {}})).json()
    assert wrong["subject"] is None
    assert wrong["problem"] == "subject, line 1: The variable `name` is not given."
    assert relay.deliveries == []


async def test_templates_have_versions_and_letters_name_them(
    gateway: Gateway, mailer: Mailer, relay: Relay
) -> None:
    client = await gateway.client()
    for number, text in enumerate(("High water at six, {{ name }}.", "Low water at noon, {{ name }}."), 1):
        kept = await client.put("/v1/templates/tides", json={"subject": "Tides", "text": text})
        assert (kept.status_code, kept.json()["version"]) == (200, number)
    for name, text in (("tides", "Low"), ("tides@1", "High")):
        body = {"from": "office@argosy.test", "template": name, "recipients": many(f"{text.lower()}")}
        sent = (await client.post("/v1/mail", json=body, headers={"Prefer": "wait=30"})).json()
        assert sent["result"] == {"recipients": 1, "sent": 1}
        assert relay.deliveries[-1].message.get_content().startswith(text)
    shown = (
        await client.post("/v1/mail/preview", json={"template": "tides@1", "variables": {"name": "Ada"}})
    ).json()
    assert shown["text"] == "High water at six, Ada."
    await client.put("/v1/templates/winds", json={"text": "West."})
    listed = (await client.get("/v1/templates?limit=1")).json()
    assert [(t["name"], t["version"], "text" in t) for t in listed["templates"]] == [("tides", 2, False)]
    listed = (await client.get(f"/v1/templates?cursor={listed['next_cursor']}")).json()
    assert ([t["name"] for t in listed["templates"]], listed["next_cursor"]) == (["winds"], None)
    assert (await client.get("/v1/templates/tides@1")).json()["text"].startswith("High")
    missing = {"from": "office@argosy.test", "template": "waves", "recipients": many("ada")}
    failed = (await client.post("/v1/mail", json=missing, headers={"Prefer": "wait=30"})).json()
    assert (failed["state"], failed["error"]["code"]) == ("failed", "template_missing")
    assert_problem(await client.get("/v1/templates/waves"), 404, "not-found")
    assert_problem(await client.put("/v1/templates/tides", json={"text": "{{ name"}), 409, "conflict")
    large = {"text": "☂" * 200_000, "html": "☂" * 200_000}
    assert_problem(await client.put("/v1/templates/tides", json=large), 413, "too-large")
    other = await gateway.client("another")
    assert (await other.get("/v1/templates")).json() == {"templates": [], "next_cursor": None}
    assert_problem(await other.get("/v1/templates/tides"), 404, "not-found")


async def test_lists_fit_into_an_answer(gateway: Gateway, mailer: Mailer) -> None:
    client = await gateway.client()
    insert = """INSERT INTO mail.templates (tenant, name, version, subject)
      SELECT $1, 't' || n, 1, $2 FROM generate_series(100, 399) AS n"""
    await gateway.database.fetch(insert, "dev", "☂" * 998)
    found, after = list[str](), ""
    while after is not None:
        page = (await client.get(f"/v1/templates?limit=500&cursor={after}")).json()
        found += [template["name"] for template in page["templates"]]
        after = page["next_cursor"]
    assert found == [f"t{n}" for n in range(100, 400)]
    large = {"text": "☂" * 200_000, "html": "☂" * 80_000}
    assert_problem(await client.put("/v1/templates/tides", json=large), 413, "too-large")
    largest = {"text": "☂" * 190_000, "html": "☂" * 70_000}
    assert (await client.put("/v1/templates/tides", json=largest)).status_code == 200
    assert (await client.get("/v1/templates/tides")).json()["text"] == largest["text"]


async def test_one_tenants_endless_previews_take_none_from_the_others(gateway: Gateway, mailer: Mailer) -> None:
    busy, other = await gateway.client("busy"), await gateway.client("other")
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    previews = [asyncio.create_task(busy.post("/v1/mail/preview", json={"text": loop})) for _ in range(6)]
    for _ in range(3):
        shown = (await other.post("/v1/mail/preview", json={"subject": "Tides", "text": "High"})).json()
        assert (shown["subject"], shown["problem"]) == ("Tides", None)
    answers = [(await preview) for preview in previews]
    slow = [answer.json()["problem"] for answer in answers if answer.status_code == 200]
    assert slow
    assert all("longer than" in problem for problem in slow)
    assert {answer.status_code for answer in answers} <= {200, 503}
