"""Templates keep all their versions, and a letter gets the one that it names."""

import asyncio

import pytest

from libs.common.contracts.mail import Letter
from libs.common.db import Database
from services.mailer import templates
from services.mailer.refusals import TemplateMissing
from tests.mailing import TENANT, Mailer
from tests.relay import Relay


async def put(database: Database, name: str, subject: str, *, tenant: str = TENANT) -> int:
    return await templates.put(database, tenant, name, subject=subject, text="x", html=None)


async def test_the_last_version_counts_unless_one_is_named(database: Database) -> None:
    assert [await put(database, "tides", subject) for subject in ("one", "two", "three")] == [1, 2, 3]
    for reference, subject in (("tides", "three"), ("tides@1", "one"), ("tides@3", "three")):
        assert (await templates.get(database, TENANT, reference))["subject"] == subject


@pytest.mark.parametrize("reference", ["tide", "tides@2", "tides@0"])
async def test_what_is_not_there_is_said_so_by_name(database: Database, reference: str) -> None:
    await put(database, "tides", "one")
    with pytest.raises(TemplateMissing, match=reference):
        await templates.get(database, TENANT, reference)
    with pytest.raises(TemplateMissing):
        await templates.get(database, "another", "tides")


async def test_versions_that_are_made_at_once_are_all_kept(database: Database) -> None:
    numbers = await asyncio.gather(*(put(database, "tides", str(number)) for number in range(10)))
    assert sorted(numbers) == list(range(1, 11))
    for number, version in enumerate(numbers):
        assert (await templates.get(database, TENANT, f"tides@{version}"))["subject"] == str(number)


async def test_pages_have_each_template_once_by_name(database: Database) -> None:
    for name in ("b", "a", "c", "a"):
        await put(database, name, name)
    await put(database, "aa", "not ours", tenant="another")
    first = await templates.page(database, TENANT, after="", limit=2)
    assert [(found["name"], found["version"]) for found in first] == [("a", 2), ("b", 1)]
    assert "text" not in first[0], "heads only"
    assert [found["name"] for found in await templates.page(database, TENANT, after="b", limit=2)] == ["c"]


async def test_a_letter_is_filled_with_the_words_and_nothing_else(database: Database) -> None:
    await templates.put(database, TENANT, "tides", subject="Tides", text=None, html="<p>High</p>")
    letter = Letter.model_validate({"from": "a@b.test", "template": "tides", "reply_to": "c@d.test"})
    resolve = await templates.resolve(database, TENANT, letter)
    assert (resolve.subject, resolve.text, resolve.html, resolve.reply_to) == (
        "Tides",
        None,
        "<p>High</p>",
        "c@d.test",
    )
    plain = Letter.model_validate({"from": "a@b.test", "text": "x"})
    assert await templates.resolve(database, TENANT, plain) == plain


async def test_a_letter_that_has_been_entered_keeps_its_version(mailer: Mailer, relay: Relay) -> None:
    await put(mailer.database, "tides", "first")
    recipient = {"to": "450-a@example.test", "variables": {}}
    job = await mailer.accept(letter={"template": "tides"}, recipients=[recipient])
    await mailer.work()
    await put(mailer.database, "tides", "second")
    relay.kind_at = 0.0
    await mailer.finish(job)
    assert [delivery.message["Subject"] for delivery in relay.deliveries] == ["first"]
