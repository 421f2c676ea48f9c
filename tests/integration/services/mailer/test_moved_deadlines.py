"""Deadlines follow what another service tells of, in whatever order it is told."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.common.contracts.mail import Followed, MailPayload, Recipient
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob
from services.mailer import deadline_reminders
from services.mailer.refusals import NotFound, TooManyFollowers
from tests.mailing import TENANT, Mailer

DUE = datetime(2030, 12, 24, 12, tzinfo=UTC)
LETTER = {"subject": "{{ title }}", "text": "{{ deadline.date }}", "local_time": "23:59", "time_zone": "UTC"}


def followed(revision: int, due_at: datetime | None = DUE, title: str = "Dredging", **more: Any) -> Followed:
    return Followed(follows="opp_1", revision=revision, due_at=due_at, variables={"title": title}, **more)


def named(*names: str) -> list[Recipient]:
    return [Recipient(to=f"{name}@example.test") for name in names]


async def put(mailer: Mailer, what: Followed, *names: str, name: str = "d", **more: Any) -> None:
    await deadline_reminders.put(
        mailer.database, TENANT, name, what.due_at, what.variables, named(*names), followed=what, **more
    )


async def shown(mailer: Mailer, name: str = "d") -> tuple[datetime | None, str]:
    found = await deadline_reminders.get(mailer.database, TENANT, name)
    return found["due_at"], found["variables"]["title"]


async def tell(mailer: Mailer, *moved: Followed, tenant: str = TENANT) -> dict[str, Any]:
    """By a job, as the other service does."""
    body = MailPayload(moved=moved).model_dump_json(by_alias=True).encode()
    job = NewJob(tenant, "sync", "mailer", "moved", body)
    await accept(mailer.gateway, [job], ticketed=[False])
    return await mailer.finish(job)


async def test_all_that_follow_it_move_and_nothing_else(mailer: Mailer) -> None:
    await put(mailer, followed(1), "ada")
    await put(mailer, followed(1), "bob", name="e")
    await deadline_reminders.put(mailer.database, TENANT, "other", DUE, {"title": "Own"}, [])
    await deadline_reminders.put(
        mailer.database, "another", "d", DUE, {"title": "Theirs"}, [], followed=followed(1, title="Theirs")
    )
    later = DUE + timedelta(days=7)
    facts = await tell(mailer, followed(2, later, "New"), Followed.model_validate(UNKNOWN))
    assert (facts["state"], facts["result"]) == ("succeeded", {"deadlines": 2})
    assert [await shown(mailer, name) for name in "de"] == [(later, "New")] * 2
    assert await shown(mailer, "other") == (DUE, "Own")
    theirs = await deadline_reminders.get(mailer.database, "another", "d")
    assert (theirs["due_at"], theirs["variables"]) == (DUE, {"title": "Theirs"})


UNKNOWN = {"follows": "opp_unknown", "revision": 3, "due_at": None, "variables": {}}


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
async def test_the_last_revision_holds_whatever_comes_last(mailer: Mailer, order: tuple[int, ...]) -> None:
    first, *rest = order
    await put(mailer, followed(first, DUE + timedelta(days=first), str(first)))
    for number, revision in enumerate(rest):
        what = followed(revision, DUE + timedelta(days=revision), str(revision))
        if number == 0:
            await put(mailer, what)
        else:
            await tell(mailer, what)
    assert await shown(mailer) == (DUE + timedelta(days=3), "3")


async def test_who_was_to_be_reminded_of_the_old_date_is_not(mailer: Mailer) -> None:
    soon = datetime.now(UTC) + timedelta(days=2)
    await put(mailer, followed(1, soon), "ada")
    job = await mailer.accept(letter=LETTER, days_before=[3])
    await mailer.work()
    assert await mailer.states(job) == {"ada": "queued"}
    await tell(mailer, followed(2, soon, "Only another title"))
    assert await mailer.states(job) == {"ada": "queued"}
    await tell(mailer, followed(3, soon + timedelta(days=9)))
    assert await mailer.states(job) == {"ada": "cancelled"}


async def test_without_a_date_nobody_is_reminded_until_it_is_back(mailer: Mailer) -> None:
    soon = datetime.now(UTC) + timedelta(days=2)
    await put(mailer, followed(1, soon), "ada")
    await tell(mailer, followed(2, None, is_gone=True))
    assert (await mailer.finish(await mailer.accept(letter={**LETTER, "local_time": None}, days_before=[3])))[
        "result"
    ] == {"recipients": 0}
    await tell(mailer, followed(3, soon))
    facts = await mailer.finish(await mailer.accept(letter={**LETTER, "local_time": None}, days_before=[3]))
    assert facts["result"] == {"recipients": 1, "sent": 1}


async def test_who_follows_is_not_dropped_by_another_who_does(mailer: Mailer) -> None:
    await put(mailer, followed(1), "ada")
    await put(mailer, followed(1), "grace", "ada", keep_others=True)
    found = await deadline_reminders.get(mailer.database, TENANT, "d")
    assert [one["to"] for one in found["followers"]] == ["ada@example.test", "grace@example.test"]
    many = [f"f{n}" for n in range(999)]
    with pytest.raises(TooManyFollowers):
        await put(mailer, followed(1), *many, keep_others=True)
    await put(mailer, followed(1), *many)
    assert len((await deadline_reminders.get(mailer.database, TENANT, "d"))["followers"]) == 999


async def test_the_clean_up_spares_what_follows_something_living(mailer: Mailer) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)
    await deadline_reminders.put(mailer.database, TENANT, "own", long_ago, {}, [])
    await put(mailer, followed(1, long_ago), name="living")
    await put(mailer, followed(1, None), name="endless")
    await put(mailer, followed(1, None, is_gone=True), name="retired")
    await put(mailer, followed(1, None, is_gone=True), name="just-now")
    await mailer.database.fetch(
        "UPDATE mail.deadlines SET retired_at = now() - interval '31 days' WHERE name = 'retired'"
    )
    await deadline_reminders.forget(mailer.database)
    found = await deadline_reminders.page(mailer.database, TENANT, after="", limit=9)
    assert [one["name"] for one in found] == ["endless", "just-now", "living"]


async def test_a_deadline_with_a_date_of_its_own_follows_nothing_any_more(mailer: Mailer) -> None:
    await put(mailer, followed(5))
    await deadline_reminders.put(mailer.database, TENANT, "d", DUE, {"title": "Own"}, [])
    await tell(mailer, followed(6, None))
    assert await shown(mailer) == (DUE, "Own")
    with pytest.raises(NotFound):
        await shown(mailer, "none")
