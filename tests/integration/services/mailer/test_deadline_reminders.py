"""Who follows a deadline is reminded of it: once for each number of days, whatever is tried again or at once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import from_json
from sqlalchemy import event

from libs.common.contracts.mail import Letter, MailPayload, Recipient, StoredLetter
from libs.common.db import Database
from libs.common.ledger.jobs import new_id
from services.mailer import deadline_reminders
from tests.mailing import TENANT, Mailer
from tests.relay import Relay

LETTER = {
    "subject": "{{ title }} in {{ deadline.days_left }} days",
    "text": "{{ name }}: {{ deadline.date }} {{ deadline.time }}",
}
THREE = MailPayload(days_before=(3,))
DUE, NOW = datetime(2030, 12, 24, 12, tzinfo=UTC), datetime(2030, 12, 21, 8, tzinfo=UTC)


def followers(*names: str, **more: Any) -> list[Recipient]:
    return [Recipient(to=f"{name}@example.test", variables={"name": name}, **more) for name in names]


def head(zone: str = "UTC", **more: Any) -> StoredLetter:
    letter = Letter.model_validate(LETTER | {"from": "office@argosy.test", "time_zone": zone} | more)
    return StoredLetter(letter=letter, is_template=True)


async def remind(database: Database, *days_before: int, now: datetime = NOW, zone: str = "UTC") -> dict[str, Any]:
    """Enter a letter; the variables of its recipients, by address, or by number where an address has several."""
    letter = new_id()
    total = await deadline_reminders.store(
        database, letter, TENANT, head(zone), MailPayload(days_before=days_before), now
    )
    rows = await database.fetch(
        "SELECT address, variables::text FROM mail.recipients WHERE letter = $1 ORDER BY number", letter
    )
    assert len(rows) == total
    return {address: from_json(variables) for address, variables in rows}


async def test_followers_of_a_near_deadline_get_the_letter_and_get_it_once(mailer: Mailer, relay: Relay) -> None:
    due_at = datetime.now(UTC) + timedelta(days=3)
    await deadline_reminders.put(
        mailer.database, TENANT, "tender:7", due_at, {"title": "Dredging"}, followers("ada", "grace")
    )
    await deadline_reminders.put(mailer.database, "another", "tender:7", due_at, {"title": "No"}, followers("eve"))
    far = datetime.now(UTC) + timedelta(days=5)
    await deadline_reminders.put(mailer.database, TENANT, "far", far, {"title": "Far"}, followers("ada"))
    facts = await mailer.finish(await mailer.accept(letter=LETTER, days_before=[3]))
    assert facts["result"] == {"recipients": 2, "sent": 2}
    assert relay.counts() == {"ada@example.test": 1, "grace@example.test": 1}
    assert {delivery.message["Subject"] for delivery in relay.deliveries} == {"Dredging in 3 days"}
    facts = await mailer.finish(await mailer.accept(letter=LETTER, days_before=[3]))
    assert facts["result"] == {"recipients": 0}


async def test_many_followers_are_shared_out_in_parts(mailer: Mailer, relay: Relay) -> None:
    due_at = datetime.now(UTC) + timedelta(days=1)
    names = [f"f{number}" for number in range(600)]
    await deadline_reminders.put(mailer.database, TENANT, "d", due_at, {"title": "Tides"}, followers(*names))
    async with mailer.at_work():
        facts = await mailer.ended(await mailer.accept(letter=LETTER, days_before=[1]))
    assert facts["result"] == {"recipients": 600, "sent": 600}
    assert (len(relay.counts()), len(relay.deliveries)) == (600, 600)


async def test_whom_a_letter_did_not_reach_the_next_one_does(mailer: Mailer, relay: Relay) -> None:
    """A template that fails for some, a letter that expired, and a cancelled one that is tried again too late."""
    due_at = datetime.now(UTC) + timedelta(days=3)
    names = followers("ada", "grace")
    nameless = Recipient(to="nameless@example.test")
    await deadline_reminders.put(mailer.database, TENANT, "d", due_at, {"title": "Tides"}, [*names, nameless])
    facts = await mailer.finish(await mailer.accept(letter=LETTER, days_before=[3]))
    assert facts["result"] == {"recipients": 3, "sent": 2, "cancelled": 1}
    found = await deadline_reminders.get(mailer.database, TENANT, "d")
    assert [follower["reminded_days"] for follower in found["followers"]] == [3, 3, None]

    later = {"subject": "Now", "text": "Tides", "local_time": f"{datetime.now(UTC) + timedelta(hours=2):%H:%M}"}
    waiting = await mailer.accept(letter=later, days_before=[3])
    await mailer.work()
    assert await mailer.states(waiting) == {"nameless": "queued"}
    plain = {"subject": "Now", "text": "Tides"}
    facts = await mailer.finish(await mailer.accept(letter=plain, days_before=[3]))
    assert facts["result"] == {"recipients": 0}, "it still waits"
    end = "UPDATE ledger.jobs SET state = $2, finished_at = $3 WHERE id = $1"
    await mailer.database.fetch(end, waiting.id, "cancelled", datetime.now(UTC))
    facts = await mailer.finish(await mailer.accept(letter=plain, days_before=[3]))
    assert facts["result"] == {"recipients": 1, "sent": 1}
    await mailer.database.fetch("UPDATE mail.recipients SET due_at = now() WHERE state = 'queued'")
    await mailer.database.fetch(end, waiting.id, "queued", None)
    assert (await mailer.finish(waiting))["result"] == {"recipients": 1, "cancelled": 1}
    assert relay.counts()["nameless@example.test"] == 1


async def test_what_waits_is_withdrawn_where_the_deadline_is_not_what_it_was(database: Database) -> None:
    async def states() -> dict[str, str]:
        rows = await database.fetch("SELECT address, state FROM mail.recipients WHERE letter = $1", letter)
        return {address.partition("@")[0]: state for address, state in rows}

    letter = new_id()
    await deadline_reminders.put(database, TENANT, "d", DUE, {}, followers("ada", "grace"))
    await deadline_reminders.put(database, TENANT, "gone", DUE, {}, followers("lise"))
    assert await deadline_reminders.store(database, letter, TENANT, head(), THREE, NOW) == 3
    await deadline_reminders.put(database, TENANT, "d", DUE, {"title": "new"}, followers("ada", "emmy"))
    assert await states() == {"ada": "queued", "grace": "cancelled", "lise": "queued"}
    await deadline_reminders.put(database, TENANT, "d", DUE + timedelta(hours=1), {}, followers("ada", "emmy"))
    assert await states() == {"ada": "cancelled", "grace": "cancelled", "lise": "queued"}
    await deadline_reminders.remove(database, TENANT, "gone")
    assert await states() == {"ada": "cancelled", "grace": "cancelled", "lise": "cancelled"}


async def test_days_are_those_left_when_the_letter_is_sent_and_none_is_sent_after_the_deadline(
    database: Database,
) -> None:
    await deadline_reminders.put(database, TENANT, "d", DUE, {}, followers("ada"))
    letter, late = new_id(), new_id()
    next_morning = head("UTC", local_time="07:00")  # it is eight
    assert await deadline_reminders.store(database, letter, TENANT, next_morning, THREE, NOW) == 1
    ((variables, state),) = await database.fetch(
        "SELECT variables::text, state FROM mail.recipients WHERE letter = $1", letter
    )
    assert (from_json(variables)["deadline"]["days_left"], state) == (2, "queued")
    payload, evening = MailPayload(days_before=(0,)), DUE.replace(hour=11)
    assert await deadline_reminders.store(database, late, TENANT, next_morning, payload, evening) == 1
    ((state, reply),) = await database.fetch("SELECT state, reply FROM mail.recipients WHERE letter = $1", late)
    assert (state, reply) == ("cancelled", "it would come after the deadline")


async def test_a_letter_is_for_deadlines_of_its_kind(database: Database) -> None:
    await deadline_reminders.put(database, TENANT, "tender:1", DUE, {}, followers("ada"))
    await deadline_reminders.put(database, TENANT, "visa:1", DUE, {}, followers("ada"))
    for kind in ("tender:", "visa:"):
        payload = MailPayload(days_before=(3,), deadlines=kind)
        assert await deadline_reminders.store(database, new_id(), TENANT, head(), payload, NOW) == 1
    assert not await remind(database, 3)


async def test_variables_stay_as_they_were_written(database: Database) -> None:
    """Not as jsonb has them: 309 digits for 1e308, in the memory of whoever reads it."""
    large, letter = {"x": [1e308] * 100, "y": {}}, new_id()
    ada, grace = Recipient(to="ada@example.test", variables={"y": {"z": 10**30}}), Recipient(to="g@example.test")
    await deadline_reminders.put(database, TENANT, "d", DUE, large, [ada, grace])
    await deadline_reminders.put(database, TENANT, "none", DUE, {}, [grace])
    assert await deadline_reminders.store(database, letter, TENANT, head(), THREE, NOW) == 3
    rows = await database.fetch("SELECT variables::text FROM mail.recipients WHERE letter = $1 ORDER BY 1", letter)
    assert all(len(text) < 1000 for (text,) in rows)
    read = [from_json(text) for (text,) in rows]
    assert all(found.pop("deadline")["days_left"] == 3 for found in read)
    assert sorted(read, key=str) == sorted([large | {"y": {"z": 10**30}}, large, {}], key=str)


async def test_each_number_of_days_reminds_once_and_the_smallest_that_has_come_counts(database: Database) -> None:
    await deadline_reminders.put(database, TENANT, "d", DUE, {}, followers("ada"))
    assert not await remind(database, 2, 1)
    assert await remind(database, 7, 3, 1)
    assert not await remind(database, 7, 3, 1), "7 has come too, but 3 was told"
    assert not await remind(database, 7)
    assert await remind(database, 7, 3, 1, now=DUE - timedelta(days=1))
    assert await remind(database, 0, now=DUE - timedelta(hours=1))
    await deadline_reminders.put(database, TENANT, "passed", NOW - timedelta(hours=1), {}, followers("ada"))
    assert not await remind(database, 7, 1)


async def test_days_are_those_of_calendars(database: Database) -> None:
    """A day is near by the calendar of the letter; what a follower reads is by their own."""
    await deadline_reminders.put(
        database, TENANT, "d", DUE, {"name": "all", "title": "t"},
        [*followers("ada"), *followers("kiri", time_zone="Pacific/Auckland"), Recipient(to="x@example.test")],
    )  # fmt: skip
    assert not await remind(database, 3, zone="Pacific/Auckland"), "there it is the fourth day"
    found = await remind(database, 3)
    assert found["ada@example.test"]["deadline"] == {
        "name": "d",
        "due_at": "2030-12-24T12:00:00.000000Z",
        "date": "2030-12-24",
        "time": "12:00",
        "days_left": 3,
    }
    assert found["kiri@example.test"]["deadline"]["date"] == "2030-12-25"
    assert found["kiri@example.test"]["deadline"]["time"] == "01:00"
    assert found["kiri@example.test"]["deadline"]["days_left"] == 4
    assert [found[f"{name}@example.test"]["name"] for name in ("ada", "kiri", "x")] == ["ada", "kiri", "all"]


async def test_a_deadline_that_was_moved_is_a_new_one(database: Database) -> None:
    await deadline_reminders.put(database, TENANT, "d", DUE, {}, followers("ada", "grace"))
    assert len(await remind(database, 3)) == 2
    await deadline_reminders.put(database, TENANT, "d", DUE, {"title": "new"}, followers("ADA", "lise"))
    assert set(await remind(database, 3)) == {"lise@example.test"}, "the others were told, or do not follow it"
    await deadline_reminders.put(database, TENANT, "d", DUE + timedelta(hours=1), {}, followers("ada", "lise"))
    assert len(await remind(database, 3)) == 2
    assert await deadline_reminders.remove(database, TENANT, "d")
    assert not await deadline_reminders.remove(database, TENANT, "d")
    assert not await remind(database, 1, now=DUE)


async def test_entered_again_it_is_the_same_letter(database: Database) -> None:
    await deadline_reminders.put(database, TENANT, "d", DUE, {}, followers("ada", "grace"))
    letter = new_id()
    assert await deadline_reminders.store(database, letter, TENANT, head(), THREE, NOW) == 2
    await deadline_reminders.put(database, TENANT, "later", DUE, {}, followers("lise"))
    assert await deadline_reminders.store(database, letter, TENANT, head(), THREE, NOW) == 2


async def test_at_once_nobody_is_told_twice_and_changes_do_not_get_stuck(database: Database) -> None:
    names = [f"f{number}" for number in range(50)]
    deadlines = [f"d{number}" for number in range(20)]

    async def keep() -> None:
        for name in reversed(deadlines):
            await deadline_reminders.put(database, TENANT, name, DUE, {}, followers(*reversed(names)))

    await keep()
    letters = [new_id() for _ in range(4)]
    entered, _, _ = await asyncio.gather(
        asyncio.gather(
            *(deadline_reminders.store(database, letter, TENANT, head(), THREE, NOW) for letter in letters)
        ),
        keep(),
        keep(),
    )
    assert sum(entered) == 1000
    told = await database.fetch(
        "SELECT count(DISTINCT address || variables::text) FROM mail.recipients WHERE letter = ANY($1)", letters
    )
    assert told[0][0] == 1000


async def test_of_two_who_keep_a_deadline_at_once_the_last_has_said_who_follows(database: Database) -> None:
    for turn in range(10):
        await asyncio.gather(
            deadline_reminders.put(database, TENANT, f"d{turn}", DUE, {}, followers("ada", "grace")),
            deadline_reminders.put(database, TENANT, f"d{turn}", DUE, {}, followers("lise", "grace")),
        )
        found = await deadline_reminders.get(database, TENANT, f"d{turn}")
        names = [follower["to"].partition("@")[0] for follower in found["followers"]]
        assert names in (["ada", "grace"], ["grace", "lise"])


async def test_the_number_of_questions_does_not_grow_with_deadlines_and_followers(database: Database) -> None:
    await deadline_reminders.put(database, TENANT, "only", DUE, {}, followers("ada"))
    with counted(database) as few:
        assert len(await remind(database, 3)) == 1
    for number in range(60):
        await deadline_reminders.put(
            database, TENANT, f"d{number}", DUE, {}, followers(*(f"f{n}" for n in range(10)))
        )
    letter = new_id()
    with counted(database) as many:
        assert await deadline_reminders.store(database, letter, TENANT, head(), THREE, NOW) == 600
    assert len(many) == len(few)


async def test_what_is_one_address_to_the_database_is_one_follower(database: Database) -> None:
    """Of which Python says that they are two: U+0130, whose small letter is a matter of opinion."""
    await deadline_reminders.put(database, TENANT, "d", DUE, {}, followers("\u0130", "i"))
    assert len((await deadline_reminders.get(database, TENANT, "d"))["followers"]) == 1
    assert len(await remind(database, 3)) == 1


async def test_what_has_passed_long_ago_is_forgotten(database: Database) -> None:
    now = datetime.now(UTC)
    await deadline_reminders.put(database, TENANT, "old", now - timedelta(days=31), {}, followers("ada"))
    await deadline_reminders.put(database, TENANT, "passed", now - timedelta(days=29), {}, followers("ada"))
    await deadline_reminders.forget(database)
    assert [found["name"] for found in await deadline_reminders.page(database, TENANT, after="", limit=9)] == [
        "passed"
    ]


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements of transactions in the block."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    engine = database._pool._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
