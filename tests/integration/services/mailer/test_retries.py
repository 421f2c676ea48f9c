"""A retry by hand reaches those whom a letter has not reached, and nobody is written to twice because of it."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from libs.common.contracts.mail import AddressedRecipient, StoredLetter
from libs.common.db import Database
from libs.common.ledger import job_actions
from libs.common.ledger.claim import Retried
from libs.common.ledger.jobs import NewJob, new_id
from services.mailer import handler, letters, suppressions
from services.mailer.letters import State, StateChange, StateWriter
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import TENANT, Mailer
from tests.relay import Relay

ENDED = {
    "a": (State.SENT, None),
    "b": (State.BOUNCED, "no such user"),
    "c": (State.CANCELLED, "template: took longer than 20 s"),
    "d": (State.CANCELLED, "taken over by a later letter: template: took longer than 20 s"),
    "e": (State.UNKNOWN, None),
}


async def retry(gateway_database: Database, job: NewJob, *, in_doubt: bool = False) -> bool:
    return await job_actions.retry(gateway_database, TENANT, job.id, in_doubt=in_doubt, if_succeeded=True)


async def test_a_retry_writes_to_who_bounced_and_to_nobody_else(
    mailer: Mailer, gateway_database: Database, relay: Relay
) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "550end-b", "c"))
    await suppressions.add(mailer.database, TENANT, ["c@example.test"], "manual", None)
    assert (await mailer.finish(job))["result"] == {"recipients": 3, "sent": 1, "bounced": 1, "suppressed": 1}
    relay.kind_at = 0.0
    assert await retry(gateway_database, job)
    assert (await mailer.finish(job))["result"] == {"recipients": 3, "sent": 2, "suppressed": 1}
    await suppressions.remove(mailer.database, TENANT, "c@example.test")
    assert await retry(gateway_database, job)
    assert (await mailer.finish(job))["result"] == {"recipients": 3, "sent": 3}
    assert await retry(gateway_database, job)
    assert (await mailer.finish(job))["result"] == {"recipients": 3, "sent": 3}
    assert set(relay.counts().values()) == {1}
    assert len(relay.deliveries) == 3


async def test_a_letter_that_reached_nobody_has_failed_and_can_be_retried(
    mailer: Mailer, gateway_database: Database, relay: Relay
) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to("550-a", "550end-b"))
    facts = await mailer.finish(job)
    assert (facts["state"], facts["error"]["code"]) == ("failed", "nobody_reached")
    assert facts["error"]["message"] == "Nobody was reached. Of 2 recipients: 2 bounced."
    relay.kind_at = 0.0
    await suppressions.remove(mailer.database, TENANT, "550-a@example.test")
    assert await retry(gateway_database, job)
    assert (await mailer.finish(job))["result"] == {"recipients": 2, "sent": 2}


async def test_a_letter_most_of_which_bounces_stops_and_goes_on_when_retried(
    mailer: Mailer, gateway_database: Database, relay: Relay
) -> None:
    recipients = [f"550end-{number}" for number in range(400)]
    job = await mailer.accept(letter=PLAIN, recipients=to(*recipients))
    facts = await mailer.finish(job)
    assert (facts["state"], facts["error"]["code"]) == ("failed", "most_bounced")
    assert facts["error"]["message"].endswith("bounced. The others were not tried.")
    tried = len(await mailer.database.fetch("SELECT FROM mail.recipients WHERE state = 'bounced'"))
    assert 50 <= tried < 400
    relay.kind_at = 0.0
    assert await retry(gateway_database, job)
    assert (await mailer.finish(job))["result"] == {"recipients": 400, "sent": 400}


async def test_all_parts_of_a_letter_to_many_are_looked_through(
    mailer: Mailer, gateway_database: Database, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "RECIPIENTS_PER_PART", 2)
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "b", "550end-c", "550end-d", "e"))
    async with mailer.at_work():
        assert (await mailer.ended(job))["result"] == {"recipients": 5, "sent": 3, "bounced": 2}
        relay.kind_at = 0.0
        assert await retry(gateway_database, job)
        assert (await mailer.ended(job))["result"] == {"recipients": 5, "sent": 5}
    assert set(relay.counts().values()) == {1}


@pytest.mark.parametrize(("in_doubt", "arrived"), [(False, 1), (True, 2)])
async def test_who_is_in_doubt_gets_it_again_only_if_that_is_wanted(
    mailer: Mailer, gateway_database: Database, relay: Relay, in_doubt: bool, arrived: int
) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "dropend-b"))
    assert (await mailer.finish(job))["result"] == {"recipients": 2, "sent": 1, "unknown": 1}
    relay.kind_at = 0.0
    assert await retry(gateway_database, job, in_doubt=in_doubt)
    await mailer.finish(job)
    found = (await mailer.recipients(job))["dropend-b@example.test"]
    assert (found["state"], found["possible_duplicates"]) == (("sent", 1) if in_doubt else ("unknown", 0))
    assert relay.counts() == {"a@example.test": 1, "dropend-b@example.test": arrived}


@pytest.mark.parametrize(
    ("in_doubt", "reopened"), [(False, ["b", "c"]), (True, ["b", "c", "e"])], ids=["keep", "resend"]
)
async def test_only_what_was_before_the_retry_is_reopened_and_only_once(
    database: Database, in_doubt: bool, reopened: list[str]
) -> None:
    """A retry after an error is none by hand, also if there was one by hand before."""
    letter = await ended(database)
    retried = Retried(1, datetime.now(UTC), in_doubt)
    for attempt in (2, 3):
        await letters.reopen(database, letter, 0, 4, attempt, retried)
        rows = await letters.claim(database, letter, 0, 4, attempt, retried.at)
        assert [row.address[0] for row in rows] == (reopened if attempt == 2 else [])
        assert all(row.tries == 0 for row in rows)
        if attempt == 2:
            await writes(database, letter, attempt, {"b": ENDED["b"], "c": ENDED["c"], "e": ENDED["e"]}, reopened)


async def test_a_letter_that_is_retried_is_as_young_as_the_retry(database: Database) -> None:
    letter = await ended(database)
    await database.fetch("UPDATE mail.letters SET created_at = now() - interval '5 days'")
    retried = Retried(1, datetime.now(UTC), False)
    await letters.reopen(database, letter, 0, 4, 2, retried)
    rows = await letters.claim(database, letter, 0, 4, 2, retried.at)
    assert len(rows) == 2
    assert all(row.age_s < 3600 for row in rows)


async def ended(database: Database) -> UUID:
    """A letter whose recipients have got as far as ENDED in attempt 1."""
    letter = new_id()
    head = StoredLetter.model_validate({"letter": {"from": "a@b.test", "text": "x"}})
    rows = [AddressedRecipient(address=f"{name}@one.test") for name in ENDED]
    await letters.store(database, letter, TENANT, head, rows, [0.0] * len(rows))
    await letters.claim(database, letter, 0, 4, 1)
    await writes(database, letter, 1, ENDED, list(ENDED))
    return letter


async def writes(
    database: Database, letter: UUID, attempt: int, ends: dict[str, tuple[State, str | None]], names: list[str]
) -> None:
    for name in names:
        state, reply = ends[name]
        change = StateChange(letter, list(ENDED).index(name), attempt, state, reply=reply)
        assert await StateWriter(database).write(change)
