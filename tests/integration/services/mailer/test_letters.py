"""The rows of letters and recipients: who is claimed, counted, and forgotten."""

from services.mailer import letters
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import Mailer
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
    await mailer.database.fetch("DELETE FROM ledger.jobs WHERE id = $1", gone.id)
    await letters.forget(mailer.database)
    rows = await mailer.database.fetch("SELECT DISTINCT letter FROM mail.recipients")
    assert [row[0] for row in rows] == [kept.id]
