"""The mailer's tables keep what belongs together together."""

from datetime import UTC, datetime

import pytest

from libs.common.contracts.mail import AddressedRecipient, Letter, Recipient, StoredLetter
from libs.common.db import Database
from libs.common.ledger.jobs import new_id
from services.mailer import deadline_reminders, letters


async def test_recipients_go_with_their_letter(database: Database) -> None:
    letter = new_id()
    head = StoredLetter(letter=Letter.model_validate({"from": "a@b.test", "text": "x"}))
    await letters.store(database, letter, "dev", head, [AddressedRecipient(address="c@d.test")], [0.0])
    await database.fetch("DELETE FROM mail.letters WHERE id = $1", letter)
    assert (await letters.count(database, letter)).total == 0


async def test_followers_go_with_their_deadline_and_none_is_there_twice(database: Database) -> None:
    await deadline_reminders.put(
        database, "dev", "d", datetime(2030, 1, 1, tzinfo=UTC), {}, [Recipient(to="ada@b.test")]
    )
    twice = (
        "INSERT INTO mail.followers (tenant, deadline, address, name, variables) VALUES ($1, 'd', $2, '', '{}')"
    )
    with pytest.raises(Exception, match="followers_of_a_deadline"):
        await database.fetch(twice, "dev", "ADA@b.test")
    await database.fetch("DELETE FROM mail.deadlines WHERE name = 'd'")
    assert await database.fetch("SELECT FROM mail.followers") == []
