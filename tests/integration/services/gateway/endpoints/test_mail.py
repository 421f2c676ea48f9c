"""/v1/mail from outside: a letter in, its recipients accounted for, and those who want no more of it."""

import base64
from typing import Any

import pytest

from libs.common.contracts.ids import parse_id, public_id
from libs.common.ledger.jobs import new_id
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.integration.services.gateway.streams import becomes
from tests.mailing import Mailer
from tests.relay import Relay

LETTER: dict[str, Any] = {"from": "Harbour <office@argosy.test>", "subject": "Tides", "text": "High water at six."}


def many(*names: str) -> list[dict[str, Any]]:
    return [{"to": f"{name}@example.test", "variables": {"name": name}} for name in names]


async def test_a_letter_with_a_file_and_its_recipients(gateway: Gateway, mailer: Mailer, relay: Relay) -> None:
    client = await gateway.client()
    picture = base64.b64encode(b"\x89PNG not really").decode()
    files = [
        {
            "filename": "Tiden für März.txt",
            "media_type": "text/plain",
            "content": base64.b64encode(b"06:00").decode(),
        },
        {"filename": "port.png", "media_type": "image/png", "content": picture, "content_id": "port"},
    ]
    body = LETTER | {
        "html": '<p>High water <img src="cid:port"></p>',
        "to": ["ada@one.test"],
        "attachments": files,
    }
    answer = await client.post("/v1/mail", json=body, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert (job["queue"], job["kind"], job["result"]) == ("mailer", "letter", {"recipients": 1, "sent": 1})
    listed = (await client.get(f"/v1/mail/{job['id']}/recipients")).json()
    assert listed["counts"] == {"sent": 1}
    assert (listed["recipients"][0]["to"], listed["recipients"][0]["code"]) == ("ada@one.test", 250)
    (delivery,) = relay.deliveries
    message = delivery.message
    assert message.get_content_type() == "multipart/mixed"
    related, attached = message.iter_parts()
    assert related.get_content_type() == "multipart/related"
    assert attached.get_filename() == "Tiden für März.txt"
    assert attached.get_content() == "06:00"
    assert [part["Content-ID"] for part in related.iter_parts()] == [None, "<port>"]
    assert message.get_body(("plain",)).get_content().strip() == LETTER["text"]  # type: ignore[union-attr]


async def test_recipients_are_listed_page_by_page(gateway: Gateway, mailer: Mailer) -> None:
    client = await gateway.client()
    names = [f"n{number}" for number in range(25)]
    body = LETTER | {"text": "Dear {{ name }}", "recipients": many("550-x", *names)}
    job = (await client.post("/v1/mail", json=body, headers={"Prefer": "wait=30"})).json()
    seen, after = [], ""
    while after is not None:
        page = (await client.get(f"/v1/mail/{job['id']}/recipients?limit=10{after and '&cursor=' + after}")).json()
        seen += [recipient["number"] for recipient in page["recipients"]]
        after = page["next_cursor"]
    assert seen == list(range(26))
    assert page["counts"] == {"bounced": 1, "sent": 25}
    bounced = (await client.get(f"/v1/mail/{job['id']}/recipients?state=bounced")).json()["recipients"]
    assert [(recipient["to"], recipient["enhanced_code"]) for recipient in bounced] == [
        ("550-x@example.test", "5.2.1")
    ]
    other = await gateway.client("another")
    assert_problem(await other.get(f"/v1/mail/{job['id']}/recipients"), 404, "not-found")
    assert_problem(await client.get(f"/v1/mail/{public_id(new_id())}/recipients"), 404, "not-found")


async def test_one_click_and_no_more_mail(gateway: Gateway, mailer: Mailer, relay: Relay) -> None:
    client, anybody = await gateway.client(), gateway.anonymous()
    body = LETTER | {"recipients": many("ada", "grace"), "unsubscribe": True}
    await client.post("/v1/mail", json=body, headers={"Prefer": "wait=30"})
    link = {d.recipient: d.message["List-Unsubscribe"].strip("<>") for d in relay.deliveries}["ada@example.test"]
    path = link.removeprefix("https://argosy.test")
    page = await anybody.get(path)
    assert page.status_code == 200
    assert "<form" in page.text
    assert (await client.get("/v1/suppressions")).json()["suppressions"] == [], "looking is not clicking"
    forged = path[:-2] + ("a" if path[-2] != "a" else "b") + path[-1]
    assert_problem(await anybody.post(forged), 404, "not-found")
    assert_problem(await anybody.get(forged), 404, "not-found")
    form = {"List-Unsubscribe": "One-Click"}
    assert (await anybody.post(path, data=form)).status_code == 200
    (suppression,) = (await client.get("/v1/suppressions")).json()["suppressions"]
    assert (suppression["address"], suppression["reason"]) == ("ada@example.test", "unsubscribe")
    again = (await client.post("/v1/mail", json=body, headers={"Prefer": "wait=30"})).json()
    assert again["result"] == {"recipients": 2, "sent": 1, "suppressed": 1}
    assert (await (await gateway.client("another")).get("/v1/suppressions")).json()["suppressions"] == []


async def test_a_letter_that_has_succeeded_is_retried_for_those_it_did_not_reach(
    gateway: Gateway, mailer: Mailer, relay: Relay
) -> None:
    client = await gateway.client()
    body = LETTER | {"recipients": many("ada", "550end-b", "dropend-c")}
    job = (await client.post("/v1/mail", json=body, headers={"Prefer": "wait=30"})).json()
    assert job["result"] == {"recipients": 3, "bounced": 1, "sent": 1, "unknown": 1}
    relay.kind_at = 0.0
    path = f"/v1/jobs/{job['id']}"
    assert_problem(await client.post(f"{path}/retry?on_unknown=perhaps"), 422, "invalid")
    for query, counts in (("", {"sent": 2, "unknown": 1}), ("?on_unknown=resend", {"sent": 3})):
        retried = await client.post(f"{path}/retry{query}")
        assert retried.status_code == 202, retried.text
        assert (retried.json()["state"], retried.json()["result"]) == ("queued", None)
        assert (await becomes(client, path, "succeeded"))["result"] == {"recipients": 3} | counts
    assert relay.counts() == {"ada@example.test": 1, "550end-b@example.test": 1, "dropend-c@example.test": 2}


async def test_a_letter_that_recurs(gateway: Gateway, mailer: Mailer, relay: Relay) -> None:
    client = await gateway.client()
    body = {"name": "tides", "queue": "mailer", "cron": "0 6 * * *", "payload": LETTER | {"to": ["ada@one.test"]}}
    made = await client.post("/v1/schedules", json=body)
    assert made.status_code == 201, made.text
    for _ in range(2):
        run = await client.post(f"/v1/schedules/{made.json()['id']}/run", headers={"Prefer": "wait=30"})
        assert run.json()["result"] == {"recipients": 1, "sent": 1}
    assert len({delivery.message["Message-ID"] for delivery in relay.deliveries}) == 2
    wrong = body | {"name": "w", "payload": LETTER | {"to": ["nobody"]}}
    assert_problem(await client.post("/v1/schedules", json=wrong), 422, "invalid")


async def test_the_same_key_is_the_same_letter(gateway: Gateway, mailer: Mailer, relay: Relay) -> None:
    client = await gateway.client()
    headers = {"Idempotency-Key": "tides-1", "Prefer": "wait=30"}
    body = LETTER | {"to": ["ada@one.test"]}
    first = await client.post("/v1/mail", json=body, headers=headers)
    again = await client.post("/v1/mail", json=body, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert_problem(
        await client.post("/v1/mail", json=body | {"subject": "Other"}, headers=headers),
        422,
        "idempotency-mismatch",
    )
    assert len(relay.deliveries) == 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"from": "nobody"}, "from"),
        ({"to": ["ada@one.test\r\nBcc: eve@evil.test"]}, "to.0"),
        ({"to": ["ada@one.test", "ADA@one.test"]}, ""),
        ({"to": ["ada@one.test"], "recipients": many("a")}, ""),
        ({"to": []}, ""),
        ({"subject": "Tides\r\nBcc: eve@evil.test"}, "subject"),
        ({"headers": {"Bcc": "eve@evil.test"}}, "headers"),
        ({"headers": {"X-Port": "a\nBcc: eve@evil.test"}}, "headers.X-Port"),
        ({"headers": {"X-Port\r\nBcc": "eve@evil.test"}}, "headers"),
        (
            {"attachments": [{"filename": "a\r\nb", "media_type": "text/plain", "content": ""}]},
            "attachments.0.filename",
        ),
        (
            {"attachments": [{"filename": "a", "media_type": "text/plain", "content": "?"}]},
            "attachments.0.content",
        ),
        ({"time_zone": "Moon/Tycho"}, "time_zone"),
        ({"local_time": "25:00"}, "local_time"),
    ],
)
async def test_what_cannot_be_a_letter_is_refused(gateway: Gateway, changed: dict[str, Any], field: str) -> None:
    client = await gateway.client()
    body = LETTER | {"to": ["ada@one.test"]} | changed
    problem = assert_problem(await client.post("/v1/mail", json=body), 422, "invalid")
    assert any(error["field"].startswith(f"body.{field}".rstrip(".")) for error in problem["errors"]), problem
    assert gateway.blobs() == []


async def test_a_letter_whose_files_cannot_be_stored_is_refused_and_leaves_none(gateway: Gateway) -> None:
    client = await gateway.client()
    blobs = gateway.app.state.blobs
    write = blobs.write

    async def away_after_the_first(key: str, chunks: Any) -> Any:
        if key.endswith("attachment-1"):
            blobs.write = write
            gateway.folder.rename(gateway.folder.with_name("aside"))
        return await write(key, chunks)

    files = [{"filename": name, "media_type": "text/plain", "content": "aGk="} for name in ("a", "b")]
    body = LETTER | {"to": ["ada@one.test"], "attachments": files}
    blobs.write = away_after_the_first
    assert_problem(await client.post("/v1/mail", json=body), 503, "storage-unavailable")
    assert await gateway.database.fetch("SELECT FROM ledger.jobs") == []
    gateway.folder.with_name("aside").rename(gateway.folder)
    await gateway.database.fetch("UPDATE ledger.uploads SET announced_at = now() - interval '2 hours'")
    await gateway.retention.go_round()
    assert gateway.blobs() == []
    assert (await client.post("/v1/mail", json=body)).status_code == 202


async def test_a_letter_that_is_too_large_is_refused(gateway: Gateway) -> None:
    client = await gateway.client()
    files = [{"filename": "a", "media_type": "text/plain", "content": "A" * 27_000_000}]
    answer = await client.post("/v1/mail", json=LETTER | {"to": ["a@b.test"], "attachments": files})
    assert_problem(answer, 413, "too-large")


async def test_without_a_mailer_letters_are_accepted_and_questions_are_not(gateway: Gateway) -> None:
    client = await gateway.client()
    answer = await client.post("/v1/mail", json=LETTER | {"to": ["ada@one.test"]})
    assert answer.status_code == 202
    assert parse_id(answer.json()["id"])
    asked = await client.get(f"/v1/mail/{answer.json()['id']}/recipients")
    assert_problem(asked, 503, "service-unavailable")
