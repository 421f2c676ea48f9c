"""The rows of letters and recipients: who is claimed, counted, and forgotten."""

import asyncio
from uuid import UUID

import pytest

from libs.common.contracts.mail import AddressedRecipient, Letter, StoredLetter
from libs.common.db import Database
from libs.common.ledger.jobs import new_id
from services.mailer import letters, suppressions
from services.mailer.letters import State, StateChange, StateWriter
from services.mailer.refusals import LetterGone
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import TENANT, Mailer
from tests.relay import Relay


async def test_a_letter_expires(mailer: Mailer) -> None:
    job = await mailer.accept(letter=PLAIN | {"expire_after_s": 3600}, recipients=to("450-a", "b"))
    await mailer.work()
    await mailer.database.fetch("UPDATE mail.letters SET expires_at = now()")
    assert (await mailer.finish(job))["result"] == {"recipients": 2, "cancelled": 1, "sent": 1}


async def test_what_an_earlier_attempt_announced_is_unknown(mailer: Mailer, relay: Relay) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "b", "450-c"))
    await mailer.work()
    sql = "UPDATE mail.recipients SET state = 'sending' WHERE letter = $1 AND number = 2"
    await mailer.database.fetch(sql, job.id)
    facts = await mailer.finish(job)
    assert facts["result"] == {"recipients": 3, "sent": 2, "unknown": 1}
    assert relay.counts() == {"a@example.test": 1, "b@example.test": 1}


async def test_letters_go_when_their_jobs_have_gone(mailer: Mailer) -> None:
    kept, gone = [await mailer.accept(letter=PLAIN, recipients=to("a")) for _ in range(2)]
    await mailer.work()
    await mailer.database.fetch("UPDATE mail.letters SET created_at = now() - interval '2 hours'")
    await mailer.gateway.fetch("DELETE FROM ledger.jobs WHERE id = $1", gone.id)
    await letters.forget(mailer.database)
    rows = await mailer.database.fetch("SELECT DISTINCT letter FROM mail.recipients")
    assert [row[0] for row in rows] == [kept.id]


HEAD = StoredLetter(letter=Letter.model_validate({"from": "office@argosy.test", "text": "x"}))


async def entered(database: Database, *names: str, head: StoredLetter = HEAD, wait_s: float = 0.0) -> UUID:
    """A letter to so many."""
    letter = new_id()
    recipients = [AddressedRecipient(address=f"{name}@example.test") for name in names]
    await letters.store(database, letter, TENANT, head, recipients, [wait_s] * len(names))
    return letter


async def states(database: Database, letter: UUID) -> list[str]:
    rows = await database.fetch("SELECT state FROM mail.recipients WHERE letter = $1 ORDER BY number", letter)
    return [row[0] for row in rows]


async def test_entered_again_a_letter_is_what_it_was(database: Database) -> None:
    letter = await entered(database, "a", "b")
    other = HEAD.model_copy(update={"to": ("c@example.test",)})
    await letters.store(database, letter, TENANT, other, [AddressedRecipient(address="c@example.test")], [0.0])
    assert await letters.load(database, letter) == HEAD
    assert [row.address for row in await letters.claim(database, letter, 0, 9, 1)] == [
        "a@example.test",
        "b@example.test",
    ]


async def test_a_letter_that_is_not_kept_is_gone(database: Database) -> None:
    with pytest.raises(LetterGone):
        await letters.load(database, new_id())


async def test_a_part_has_its_own_recipients_and_no_others(database: Database) -> None:
    letter = await entered(database, *"abcde")
    assert [row.number for row in await letters.claim(database, letter, 1, 3, 1)] == [1, 2, 3]
    assert (await letters.count(database, letter, 1, 3)).total == 3
    assert (await letters.count(database, letter)).by_state == {"queued": 5}


async def test_the_first_who_waits_says_when_it_goes_on(database: Database) -> None:
    letter = await entered(database, "a", "b", wait_s=600.0)
    counts = await letters.count(database, letter)
    assert counts.due_in_s == pytest.approx(600, abs=60)
    await database.fetch("UPDATE mail.recipients SET state = 'sent' WHERE letter = $1", letter)
    assert (await letters.count(database, letter)).due_in_s is None


async def test_only_the_attempt_that_has_a_recipient_writes_about_it(database: Database) -> None:
    letter = await entered(database, "a", "b")
    writer = StateWriter(database)
    await letters.claim(database, letter, 0, 1, 1)
    await letters.claim(database, letter, 0, 0, 2)
    changes = [StateChange(letter, number, attempt, State.SENDING) for number in (0, 1) for attempt in (1, 2)]
    assert await asyncio.gather(*map(writer.write, changes)) == [False, True, True, False]
    assert await writer.write(StateChange(letter, 0, 2, State.SENT, 250))
    assert not await writer.write(StateChange(letter, 0, 2, State.DEFERRED, 450)), "sent is the end"
    assert await states(database, letter) == ["sent", "sending"]


@pytest.mark.parametrize(("on_unknown", "state", "doubts"), [("keep", "unknown", 0), ("resend", "queued", 1)])
async def test_what_another_attempt_had_announced_is_in_doubt(
    database: Database, on_unknown: str, state: str, doubts: int
) -> None:
    letter_ = HEAD.letter.model_copy(update={"on_unknown": on_unknown})
    letter = await entered(database, "a", head=HEAD.model_copy(update={"letter": letter_}))
    await letters.claim(database, letter, 0, 0, 1)
    await StateWriter(database).write(StateChange(letter, 0, 1, State.SENDING))
    claimed = await letters.claim(database, letter, 0, 0, 2)
    assert (len(claimed), await states(database, letter)) == (doubts, [state])
    assert (await database.fetch("SELECT doubts FROM mail.recipients"))[0][0] == doubts


async def test_what_the_relay_says_at_last_is_the_truth_about_what_was_unknown(database: Database) -> None:
    """The answer came when another attempt had already given it up."""
    letter = await entered(database, "a")
    writer = StateWriter(database)
    await letters.claim(database, letter, 0, 0, 1)
    await writer.write(StateChange(letter, 0, 1, State.SENDING))
    await letters.claim(database, letter, 0, 0, 2)
    assert await states(database, letter) == ["unknown"]
    assert await writer.write(StateChange(letter, 0, 1, State.SENT, 250))
    assert await states(database, letter) == ["sent"]


async def test_who_is_suppressed_is_not_written_to_however_late_it_comes(database: Database) -> None:
    await suppressions.add(database, TENANT, ["A@example.test"], "manual", None)
    letter = await entered(database, "a", "b", "c")
    await suppressions.add(database, TENANT, ["b@example.test"], "manual", None)
    await suppressions.add(database, "another", ["c@example.test"], "manual", None)
    assert [row.address for row in await letters.claim(database, letter, 0, 2, 1)] == ["c@example.test"]
    assert await states(database, letter) == ["suppressed", "suppressed", "queued"]


@pytest.mark.parametrize(("at_recipient", "suppressed"), [(True, True), (False, False)])
async def test_a_refusal_of_the_recipient_is_remembered_and_one_of_the_text_is_not(
    database: Database, at_recipient: bool, suppressed: bool
) -> None:
    letter = await entered(database, "a")
    await letters.claim(database, letter, 0, 0, 1)
    change = StateChange(letter, 0, 1, State.BOUNCED, 550, "5.1.1", "no", at_recipient=at_recipient)
    await StateWriter(database).write(change)
    assert bool(await suppressions.page(database, TENANT, after=0, limit=9, address=None)) is suppressed
