"""Who gets no mail, and why."""

from typing import Any

from libs.common.db import Database
from services.mailer import suppressions
from tests.mailing import TENANT, Mailer


async def test_an_address_that_the_relay_does_not_know_gets_no_more_mail(mailer: Mailer) -> None:
    for expected in ("bounced", "suppressed"):
        job = await mailer.accept(letter={"text": "x"}, to=["550-a@example.test"])
        await mailer.finish(job)
        assert (await mailer.states(job))["550-a"] == expected


async def known(database: Database, **how: object) -> list[str]:
    question: dict[str, Any] = {"after": 0, "limit": 100, "address": None, **how}
    return [found["address"] for found in await suppressions.page(database, TENANT, **question)]


async def test_addresses_are_suppressed_once_whatever_their_case_and_name(database: Database) -> None:
    assert (
        await suppressions.add(database, TENANT, ["Ada <ADA@Example.test>", "ada@example.test"], "manual", None)
        == 1
    )
    assert await suppressions.add(database, TENANT, ["ada@example.test", "b@example.test"], "complaint", None) == 1
    assert await known(database) == ["ada@example.test", "b@example.test"]
    (ada,) = await suppressions.page(database, TENANT, after=0, limit=9, address="Ada <ADA@example.test>")
    assert ada["reason"] == "complaint", "the latest reason"


async def test_pages_go_on_after_a_number(database: Database) -> None:
    for name in "abc":
        await suppressions.add(database, TENANT, [f"{name}@example.test"], "manual", None)
    first = await suppressions.page(database, TENANT, after=0, limit=2, address=None)
    assert [found["address"] for found in first] == ["a@example.test", "b@example.test"]
    assert await known(database, after=first[-1]["number"]) == ["c@example.test"]


async def test_tenants_are_apart(database: Database) -> None:
    await suppressions.add(database, "another", ["a@example.test"], "manual", None)
    assert await known(database) == []
    assert not await suppressions.remove(database, TENANT, "a@example.test")
    assert await suppressions.remove(database, "another", "A@example.test")
    assert not await suppressions.remove(database, "another", "a@example.test")


async def test_who_is_suppressed_until_a_day_is_written_to_after_it(mailer: Mailer) -> None:
    for address, until in (("past@example.test", "2020-01-01T00:00:00+00:00"), ("a@example.test", None)):
        await suppressions.add(mailer.database, TENANT, [address], "manual", until)
    await suppressions.add(mailer.database, TENANT, ["future@example.test"], "manual", "2090-01-01T00:00:00+01:00")
    job = await mailer.accept(
        letter={"text": "x"}, to=["past@example.test", "a@example.test", "future@example.test"]
    )
    await mailer.finish(job)
    assert await mailer.states(job) == {"past": "sent", "a": "suppressed", "future": "suppressed"}


async def test_whom_a_letter_led_to_is_suppressed_for_good(mailer: Mailer) -> None:
    job = await mailer.accept(letter={"text": "x"}, to=["Ada@example.test"])
    await mailer.finish(job)
    await suppressions.add(mailer.database, TENANT, ["ada@example.test"], "manual", "2020-01-01T00:00:00+00:00")
    assert await suppressions.suppress_recipient(mailer.database, job.id, 0, "unsubscribe")
    (ada,) = await suppressions.page(mailer.database, TENANT, after=0, limit=9, address=None)
    assert (ada["address"], ada["reason"], ada["expires_at"]) == ("ada@example.test", "unsubscribe", None)
    assert not await suppressions.suppress_recipient(mailer.database, job.id, 1, "unsubscribe"), "nobody has it"
