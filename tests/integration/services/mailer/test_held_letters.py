"""What a relay says against the mailer or the sender is charged to no recipient, and can be read at the job."""

import pytest

from libs.common.db import Database
from libs.common.ledger.jobs import NewJob
from libs.common.ledger.queue_position import queue_position
from services.mailer.sending import HELD_AT_LEAST_S, SENDER_REFUSALS_AT_MOST
from services.mailer.smtp.domain_slots import BEGIN_WITH
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import Mailer
from tests.polling import until
from tests.scripted_relay import ScriptedRelay, scripted

NAMES = tuple("abcdefghijklmnopqrst")


async def configured(mailer: Mailer, script: ScriptedRelay, login: str = "", **settings: object) -> None:
    await mailer.configured(mail_relays=f"smtp://{login}127.0.0.1:{script.port}?tls=off", **settings)


async def time_has_passed(mailer: Mailer) -> None:
    """As if everything that is held were due."""
    for relay in mailer.deps.transport.relays._relays:
        relay._opening._until = relay._sending._until = 0.0
    await mailer.database.fetch("UPDATE mail.recipients SET due_at = now()")
    await mailer.database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE state = 'scheduled'")


async def assert_nobody_is_charged(mailer: Mailer, job: NewJob, code: int, reply: str) -> None:
    known = (await mailer.recipients(job)).values()
    assert {(each["state"], each["tries"], each["code"], each["reply"]) for each in known} == {
        ("queued", 0, code, reply)
    }


async def note(database: Database, job: NewJob) -> str | None:
    facts = await queue_position(database, job.tenant, job.id)
    assert facts is not None
    found: str | None = facts["note"]
    return found


@pytest.mark.parametrize("recipients", [20, 501])
async def test_a_sender_that_is_refused_is_held_and_goes_on(
    mailer: Mailer, gateway_database: Database, recipients: int
) -> None:
    """A letter whose parts are jobs of their own says so too."""
    async with scripted(ScriptedRelay({"RCPT": "504 5.5.2 <box>: full name, please"})) as script:
        await configured(mailer, script)
        job = await mailer.accept(letter=PLAIN, recipients=to(*(f"r{n}" for n in range(recipients))))
        parts = 1 + recipients // 500

        async def all_are_held() -> bool:
            held = "SELECT count(*) FROM ledger.jobs WHERE state = 'scheduled'"
            return bool((await mailer.database.fetch(held))[0][0] == parts)

        async with mailer.at_work():
            await until(all_are_held)
            await assert_nobody_is_charged(mailer, job, 504, "5.5.2 <box>: full name, please")
            assert script.count("RCPT") <= parts * (SENDER_REFUSALS_AT_MOST + BEGIN_WITH)
            said = "The mail relay said at RCPT: 504 5.5.2 <box>: full name, please"
            assert await note(gateway_database, job) == said
            left = "SELECT min(due_at) - now() FROM ledger.jobs WHERE state = 'scheduled'"
            assert (await mailer.database.fetch(left))[0][0].total_seconds() > HELD_AT_LEAST_S / 2
            script.answers = {}
            await time_has_passed(mailer)
            assert (await mailer.ended(job))["state"] == "succeeded"
        known = (await mailer.recipients(job)).values()
        assert {(each["state"], each["tries"]) for each in known} == {("sent", 1)}
        assert await note(gateway_database, job) is None


@pytest.mark.parametrize(
    ("answers", "login", "code", "reply", "step"),
    [
        ({"greeting": "554 5.7.1 blocked"}, "", 554, "5.7.1 blocked", "greeting"),
        ({"MAIL": "530 5.7.0 log in first"}, "", 530, "5.7.0 log in first", "MAIL"),
        (
            {"EHLO": "250-relay.test\r\n250 AUTH PLAIN LOGIN", "AUTH": "535 5.7.8 no"},
            "ada:secret@",
            535,
            "5.7.8 no",
            "AUTH",
        ),
    ],
)
async def test_a_relay_that_refuses_us_holds_the_letter(
    mailer: Mailer,
    gateway_database: Database,
    answers: dict[str, str],
    login: str,
    code: int,
    reply: str,
    step: str,
) -> None:
    script = ScriptedRelay(dict(answers))
    async with scripted(script):
        await configured(mailer, script, login)
        job = await mailer.accept(letter=PLAIN, recipients=to(*NAMES))
        await mailer.work()
        await assert_nobody_is_charged(mailer, job, code, reply)
        assert await note(gateway_database, job) == f"The mail relay said at {step}: {code} {reply}"
        asked = len(script.heard)
        await mailer.database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE state = 'scheduled'")
        await mailer.work()
        assert len(script.heard) == asked, "it is tried seldom, however often the letter looks"
        script.answers = {"EHLO": answers["EHLO"]} if login else {}
        await time_has_passed(mailer)
        assert (await mailer.finish(job))["result"] == {"recipients": len(NAMES), "sent": len(NAMES)}


async def test_who_is_held_for_too_long_has_bounced(mailer: Mailer) -> None:
    """Some relays say of a single mailbox what others say of a sender; a letter must have an end."""
    async with scripted(ScriptedRelay({"RCPT": "550 5.7.1 members only"})) as script:
        await configured(mailer, script, mail_give_up_after_s=3600)
        job = await mailer.accept(letter=PLAIN, recipients=to("a"))
        await mailer.work()
        await assert_nobody_is_charged(mailer, job, 550, "5.7.1 members only")
        await mailer.database.fetch("UPDATE mail.letters SET created_at = created_at - interval '2 h'")
        await time_has_passed(mailer)
        error = (await mailer.finish(job))["error"]
        assert error["message"] == "Nobody was reached. Of 1 recipients: 1 bounced."


async def test_a_mailbox_that_takes_no_mail_from_the_sender_holds_up_nobody_else(mailer: Mailer) -> None:
    async with scripted(ScriptedRelay()) as script:
        script.answer = lambda command: "550 5.7.1 members only" if command.startswith("RCPT TO:<b@") else None
        await configured(mailer, script)
        job = await mailer.accept(letter=PLAIN, recipients=to(*NAMES))
        await mailer.work()
        states = await mailer.states(job)
        assert states == dict.fromkeys(NAMES, "sent") | {"b": "queued"}


async def test_too_much_mail_costs_nobody_a_try(mailer: Mailer) -> None:
    """The relay takes 10, and then refuses 3 times: each pause is twice as long as the one before."""
    async with scripted(ScriptedRelay()) as script:
        refused = 0

        def answer(command: str) -> str | None:
            nonlocal refused
            if not command.startswith("MAIL") or script.count(".") < 10 or refused >= 3:
                return None
            refused += 1
            return "450 4.7.1 too much mail from you"

        script.answer = answer
        await configured(mailer, script)
        job = await mailer.accept(letter=PLAIN, recipients=to(*NAMES))
        assert (await mailer.finish(job))["result"] == {"recipients": len(NAMES), "sent": len(NAMES)}
        assert {each["tries"] for each in (await mailer.recipients(job)).values()} == {1}


async def test_all_are_sent_over_as_many_connections_as_the_relay_allows(mailer: Mailer) -> None:
    async with scripted(ScriptedRelay(connections_at_most=3)) as script:
        await configured(mailer, script)
        job = await mailer.accept(letter=PLAIN, recipients=to(*(f"r{number}" for number in range(200))))
        await mailer.work()
        assert await mailer.states(job) == {f"r{number}": "sent" for number in range(200)}
        assert script.most_open == 3


@pytest.mark.parametrize("offers_size", [True, False])
async def test_a_letter_that_is_too_large_bounces_at_once(mailer: Mailer, offers_size: bool) -> None:
    answers = {"EHLO": "250-relay.test\r\n250 SIZE 100", "MAIL": "552 5.3.4 too big"}
    async with scripted(ScriptedRelay(answers if offers_size else {".": answers["MAIL"]})) as script:
        await configured(mailer, script)
        job = await mailer.accept(letter=PLAIN, recipients=to("a"))
        error = (await mailer.finish(job))["error"]
        assert error["message"] == "Nobody was reached. Of 1 recipients: 1 bounced."
        known = (await mailer.recipients(job))["a@example.test"]
        assert (known["code"], known["enhanced_code"], known["tries"]) == (552, "5.3.4", 1)
        assert any(" SIZE=" in command for command in script.heard) is offers_size
