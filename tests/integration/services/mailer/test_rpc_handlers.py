"""What the mailer answers to the gateway's questions."""

from typing import Any

import pytest
from pydantic_core import to_json

from libs.common.errors import Unavailable
from libs.common.ledger.jobs import new_id
from libs.common.rpc import REPLY_BYTES_AT_MOST, Document
from services.mailer import letters, rpc_handlers
from services.mailer.recipient_tokens import Subscriber
from services.mailer.refusals import NotFound, TemplateInvalid, TemplateMissing, TokenInvalid
from services.mailer.rpc_handlers import HANDLERS
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import TENANT, Mailer
from tests.relay import Relay


async def test_a_cancelled_letter_stops_in_the_middle(mailer: Mailer, relay: Relay) -> None:
    """Whoever was not written to yet is cancelled; the others have what they have."""
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "450-b"))
    await mailer.work()
    await mailer.database.fetch(
        "UPDATE ledger.jobs SET state = 'cancelled', finished_at = now() WHERE id = $1", job.id
    )
    assert await mailer.states(job) == {"a": "sent", "450-b": "cancelled"}


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
async def test_nobody_stays_open_when_the_job_has_ended(mailer: Mailer, ended: str) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to("450-a", "450-b", "c"))
    await mailer.work()
    await mailer.database.fetch(
        "UPDATE mail.recipients SET state = 'sending' WHERE letter = $1 AND number = 1", job.id
    )
    await mailer.database.fetch(
        "UPDATE ledger.jobs SET state = $2, finished_at = now() WHERE id = $1", job.id, ended
    )
    assert await mailer.states(job) == {"450-a": "cancelled", "450-b": "unknown", "c": "sent"}


async def ask(mailer: Mailer, about: str, *, tenant: str = TENANT, **question: Any) -> Document:
    return await HANDLERS[about](tenant, question, mailer.deps)


async def test_recipients_come_in_pages_and_by_state_and_only_to_their_tenant(mailer: Mailer) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "550-b", "c", "550-d"))
    await mailer.finish(job)
    question: Document = {"letter": job.id.hex, "after": -1, "limit": 3, "state": None}
    first = await ask(mailer, "recipients", **question)
    assert [found["number"] for found in first["recipients"]] == [0, 1, 2]
    assert (first["next_after"], first["counts"]) == (2, {"sent": 2, "bounced": 2})
    rest = await ask(mailer, "recipients", **question | {"after": 2})
    assert ([found["to"] for found in rest["recipients"]], rest["next_after"]) == (["550-d@example.test"], None)
    bounced = await ask(mailer, "recipients", **question | {"state": "bounced"})
    assert [found["number"] for found in bounced["recipients"]] == [1, 3]
    with pytest.raises(NotFound):
        await ask(mailer, "recipients", tenant="another", **question)


async def test_an_answer_is_never_longer_than_may_be_sent_and_the_rest_is_on_the_next_page(mailer: Mailer) -> None:
    names = [f"n{number:03}" for number in range(200)]
    job = await mailer.accept(letter=PLAIN, recipients=to(*names))
    await mailer.finish(job)
    await mailer.database.fetch("UPDATE mail.recipients SET reply = $1", "\N{WATER WAVE}" * 2000)
    found: list[str] = []
    question: Document = {"letter": job.id.hex, "after": -1, "limit": 1000, "state": None}
    while question["after"] is not None:
        answer = await ask(mailer, "recipients", **question)
        assert len(to_json(answer)) < REPLY_BYTES_AT_MOST
        found += [recipient["to"].partition("@")[0] for recipient in answer["recipients"]]
        question["after"] = answer["next_after"]
    assert found == names


async def test_a_click_suppresses_whom_its_link_names_and_a_made_up_link_nobody(mailer: Mailer) -> None:
    job = await mailer.accept(letter=PLAIN | {"unsubscribe": True}, recipients=to("ada", "grace"))
    await mailer.finish(job)
    tokens = mailer.deps.tokens
    assert tokens is not None
    ada, grace = tokens.make_link(Subscriber(job.id, TENANT, "Ada@example.test")), tokens.make(job.id, 1)
    for wrong in (ada[:-2], grace[:-1], "x" * 48, tokens.make(job.id, 7), tokens.make(new_id(), 0)):
        for name in ("may_unsubscribe", "unsubscribe"):
            with pytest.raises(TokenInvalid):
                await ask(mailer, name, tenant="", token=wrong)
    for token in (ada, grace):
        assert await ask(mailer, "may_unsubscribe", tenant="", token=token) == {}
    assert await suppressed(mailer) == [], "looking is not clicking"
    for token in (grace, ada, ada):
        assert await ask(mailer, "unsubscribe", tenant="", token=token) == {}
    assert await suppressed(mailer) == [("grace@example.test", "unsubscribe"), ("ada@example.test", "unsubscribe")]


async def test_a_click_counts_when_the_letter_is_no_longer_kept(mailer: Mailer, relay: Relay) -> None:
    job = await mailer.accept(letter=PLAIN | {"unsubscribe": True}, recipients=to("ada", "grace"))
    await mailer.finish(job)
    assert mailer.deps.tokens is not None
    old = mailer.deps.tokens.make(job.id, 1)  # as links were before
    links = {d.recipient: d.message["List-Unsubscribe"].strip("<>") for d in relay.deliveries}
    link = links["ada@example.test"].rpartition("/")[2]
    await mailer.gateway.fetch("DELETE FROM ledger.jobs")
    await mailer.database.fetch("UPDATE mail.letters SET created_at = now() - interval '2 hours'")
    await letters.forget(mailer.database)
    for name in ("may_unsubscribe", "unsubscribe"):
        assert await ask(mailer, name, tenant="", token=link) == {}
        with pytest.raises(TokenInvalid, match="no longer kept"):
            await ask(mailer, name, tenant="", token=old)
    assert await suppressed(mailer) == [("ada@example.test", "unsubscribe")]


async def suppressed(mailer: Mailer) -> list[tuple[str, str]]:
    found = await ask(mailer, "list_suppressions", after=0, limit=10, address=None)
    return [(known["address"], known["reason"]) for known in found["suppressions"]]


async def test_a_template_that_cannot_be_read_is_not_kept(mailer: Mailer) -> None:
    with pytest.raises(TemplateInvalid):
        await ask(mailer, "put_template", name="tides", subject="x", text="{% for %}", html=None)
    with pytest.raises(TemplateMissing):
        await ask(mailer, "get_template", reference="tides")
    kept = await ask(mailer, "put_template", name="tides", subject="x", text="{{ name }}", html=None)
    assert (kept["version"], await ask(mailer, "get_template", reference="tides@1")) == (1, kept)
    listed = await ask(mailer, "list_templates", after="", limit=1)
    assert ([found["name"] for found in listed["templates"]], listed["next_after"]) == (["tides"], "tides")


async def test_a_preview_is_what_would_be_sent(mailer: Mailer) -> None:
    await ask(mailer, "put_template", name="tides", subject="For {{ name }}", text=None, html="<p>{{ name }}</p>")
    head = {"letter": {"from": "a@b.test", "template": "tides"}, "is_template": True}
    found = await ask(mailer, "preview", letterhead=head, variables={"name": "<Ada>"})
    assert found == {"subject": "For <Ada>", "text": "<Ada>\n", "html": "<p>&lt;Ada&gt;</p>"}
    with pytest.raises(TemplateInvalid, match="name"):
        await ask(mailer, "preview", letterhead=head, variables={})


async def test_who_waits_for_a_preview_for_too_long_hears_that_there_are_too_many(
    mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_handlers, "PREVIEW_WITHIN_S", 0.05)
    head = {"letter": {"from": "a@b.test", "text": "x"}}
    async with mailer.deps.preview_slots.slot(TENANT):
        with pytest.raises(Unavailable, match="too many previews"):
            await ask(mailer, "preview", letterhead=head, variables={})


async def test_what_is_not_there_cannot_be_removed(mailer: Mailer) -> None:
    with pytest.raises(NotFound):
        await ask(mailer, "remove_suppression", address="a@example.test")
    with pytest.raises(NotFound):
        await ask(mailer, "remove_deadline", name="d")
    with pytest.raises(NotFound):
        await ask(mailer, "get_deadline", name="d")
    await ask(mailer, "add_suppressions", addresses=["a@example.test"], reason="manual", expires_at=None)
    assert await ask(mailer, "remove_suppression", address="A@example.test") == {}


async def test_a_deadline_is_kept_as_it_was_written(mailer: Mailer) -> None:
    question: Document = {
        "name": "d",
        "due_at": "2030-12-24T12:00:00+02:00",
        "variables": {"n": 10**30},
        "followers": [{"to": "Ada <ada@example.test>", "variables": {"x": 1}, "time_zone": "Europe/Berlin"}],
    }
    kept = await ask(mailer, "put_deadline", **question)
    assert kept["variables"] == {"n": 10**30}
    (ada,) = kept["followers"]
    assert (ada["to"], ada["variables"]) == ("Ada <ada@example.test>", {"x": 1})
    assert kept["due_at"].isoformat() == "2030-12-24T10:00:00+00:00"
    listed = await ask(mailer, "list_deadlines", after="", limit=10)
    assert [(found["name"], found["followers"]) for found in listed["deadlines"]] == [("d", 1)]
    assert await ask(mailer, "remove_deadline", name="d") == {}
