"""Every recipient of every letter is accounted for, whatever the relay does."""

import asyncio
import time
from collections import Counter

import pytest

from libs.common.db import Database
from libs.common.ledger import job_actions
from services.mailer import handler
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import Mailer
from tests.polling import until
from tests.relay import Relay


async def test_a_relay_that_misbehaves(mailer: Mailer, relay: Relay) -> None:
    """Statuses are right, nobody is lost, and the others are not held up."""
    await mailer.configured(mail_timeout_s=5.0)
    bad = ["450-a", "550-b", "421-c", "450end-d", "550end-e", "dropdata-f", "dropend-g"]
    hanging = [f"hang-{number}" for number in range(4)]
    good = [f"good-{number}" for number in range(300)]
    job = await mailer.accept(
        letter=PLAIN, recipients=[*to(*hanging, domain="slow.test"), *to(*bad), *to(*good, domain="fast.test")]
    )
    begun = time.monotonic()
    await mailer.work()
    states = await mailer.states(job)
    assert {name: states[name] for name in bad} == {
        "450-a": "deferred",
        "550-b": "bounced",
        "421-c": "deferred",
        "450end-d": "deferred",
        "550end-e": "bounced",
        "dropdata-f": "deferred",
        "dropend-g": "unknown",
    }
    assert {states[name] for name in hanging} == {"deferred"}
    assert {states[name] for name in good} == {"sent"}
    last_good = max(delivery.at for delivery in relay.deliveries if delivery.recipient.startswith("good"))
    assert last_good - begun < 5.0 or relay.tries.total() < 320, "while some hang the others go out"
    known = await mailer.recipients(job)
    assert (known["550-b@example.test"]["code"], known["550-b@example.test"]["enhanced_code"]) == (550, "5.2.1")
    relay.kind_at = time.monotonic()
    facts = await mailer.finish(job)
    assert facts["result"] == {"recipients": 311, "sent": 308, "bounced": 2, "unknown": 1}
    assert relay.counts() == Counter({f"{n}@example.test": 1 for n in bad if "550" not in n}) + Counter(
        {f"{n}@slow.test": 1 for n in hanging}
    ) + Counter({f"{n}@fast.test": 1 for n in good})
    assert facts["failures"] == 0


async def test_in_doubt_it_is_sent_again_where_the_letter_says_so(mailer: Mailer, relay: Relay) -> None:
    job = await mailer.accept(letter=PLAIN | {"on_unknown": "resend"}, recipients=to("dropend-a"))
    await mailer.work()
    relay.kind_at = time.monotonic()
    await mailer.finish(job)
    known = (await mailer.recipients(job))["dropend-a@example.test"]
    assert (known["state"], known["possible_duplicates"]) == ("sent", 1)
    assert len({delivery.message["Message-ID"] for delivery in relay.deliveries}) == 1
    assert len(relay.deliveries) == 2


async def test_who_has_waited_too_long_has_bounced(mailer: Mailer) -> None:
    await mailer.configured(mail_give_up_after_s=3600)
    job = await mailer.accept(letter=PLAIN, recipients=to("450-a"))
    await mailer.work()
    assert await mailer.states(job) == {"450-a": "deferred"}
    await mailer.database.fetch("UPDATE mail.letters SET created_at = created_at - interval '2 h'")
    facts = await mailer.finish(job)
    assert (facts["state"], facts["error"]["code"]) == ("failed", "nobody_reached")
    assert await mailer.states(job) == {"450-a": "bounced"}
    assert (await mailer.recipients(job))["450-a@example.test"]["tries"] >= 2


async def test_a_worker_that_lost_its_job_ends_no_message(mailer: Mailer, relay: Relay) -> None:
    """The fence: another attempt has the recipients by the time that the data could end."""
    job = await mailer.accept(letter=PLAIN, recipients=to("a"))

    def steal(step: str, _recipient: str) -> None:
        if step == "DATA" and not stolen:
            sql = "UPDATE mail.recipients SET attempt = attempt + 1 WHERE letter = $1"
            stolen.append(asyncio.ensure_future(mailer.database.fetch(sql, job.id)))

    stolen: list[asyncio.Future[object]] = []
    relay.at = steal
    marks = mailer.deps.transport.states
    write = marks.write

    async def after_the_theft(mark: object) -> bool:
        await asyncio.gather(*stolen)
        return await write(mark)  # type: ignore[arg-type]

    marks.write = after_the_theft  # type: ignore[assignment]
    await mailer.work()
    assert relay.deliveries == []


async def test_a_domain_that_hangs_leaves_room_for_other_letters(mailer: Mailer, relay: Relay) -> None:
    """The slow letter came first, and has more recipients than there are connections."""
    await mailer.configured(mail_connections=8)

    async def hanging() -> bool:
        return relay.tries.total() > 0

    await mailer.configured(mail_timeout_s=600)
    slow = await mailer.accept(letter=PLAIN, recipients=to(*(f"hang-{n}" for n in range(40)), domain="slow.test"))
    async with mailer.at_work():
        await until(hanging)
        fast = await mailer.accept(letter=PLAIN, recipients=to(*(f"n{n}" for n in range(40)), domain="fast.test"))
        assert (await mailer.ended(fast))["result"] == {"recipients": 40, "sent": 40}
        known = await mailer.recipients(slow)
        assert {recipient["state"] for recipient in known.values()} == {"queued"}, "they still hang"


async def test_a_cancelled_letter_leaves_its_domain_open_to_others(
    mailer: Mailer, relay: Relay, gateway_database: Database
) -> None:
    """Messages of it are under way and hang, and others wait for room."""
    await mailer.configured(mail_connections=8)

    async def hanging() -> bool:
        return relay.tries.total() == 4

    slow = await mailer.accept(letter=PLAIN, recipients=to(*(f"hang-{n}" for n in range(40))))
    async with mailer.at_work():
        await until(hanging)
        assert await job_actions.cancel(gateway_database, slow.tenant, slow.id)
        assert (await mailer.ended(slow))["state"] == "cancelled"
        next_one = await mailer.accept(tenant="another", letter=PLAIN, recipients=to("a", "b", "c"))
        assert (await mailer.ended(next_one))["result"] == {"recipients": 3, "sent": 3}


@pytest.mark.parametrize("large", ["", "y" * 200_000])
async def test_who_hangs_holds_up_nobody_else_of_the_letter(mailer: Mailer, relay: Relay, large: str) -> None:
    """Also where the messages are so large that they are put together a few at a time."""
    await mailer.configured(mail_timeout_s=600)
    quick = to(*(f"n{n}" for n in range(60)), domain="fast.test")
    letter = {"subject": "Tides", "text": "Dear {{ name }}" + large}
    job = await mailer.accept(letter=letter, recipients=[*to("hang-0", "hang-1", domain="slow.test"), *quick])

    async def all_the_others() -> bool:
        return len(relay.deliveries) == 60

    async with mailer.at_work():
        await until(all_the_others)
        states = await mailer.states(job)
    assert (states["hang-0"], states["hang-1"]) == ("queued", "queued"), "they still hang"


async def test_who_waits_for_a_limit_is_not_forgotten_over_those_who_hang(mailer: Mailer, relay: Relay) -> None:
    await mailer.configured(mail_limits="domain:fast.test=5/s", mail_timeout_s=600)
    slow = to(*(f"hang-{n}" for n in range(60)), domain="slow.test")
    job = await mailer.accept(letter=PLAIN, recipients=[*slow, *to(*"abcdefghijkl", domain="fast.test")])

    async def all_the_others() -> bool:
        return len(relay.deliveries) == 12

    async with mailer.at_work():
        await until(all_the_others)
        states = await mailer.states(job)
    assert {state for name, state in states.items() if name.startswith("hang")} == {"queued"}


async def test_what_is_ready_is_sent_while_another_takes_for_ever(
    mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Templates are filled in two at a time here."""
    await mailer.configured(mail_compose_timeout_s=2.0)
    monkeypatch.setattr(handler, "COMPOSED_AT_ONCE_BYTES", 3500)
    text = "{% for a in range(many) %}{% for b in range(many) %}{% endfor %}{% endfor %}Dear {{ name }}"
    names = (("a", 1), ("b", 1), ("c", 99_999), ("d", 1))
    job = await mailer.accept(
        letter={"subject": "Tides", "text": text},
        recipients=[{"to": f"{name}@one.test", "variables": {"name": name, "many": n}} for name, n in names],
    )
    facts = await mailer.finish(job)
    assert facts["result"] == {"recipients": 4, "sent": 3, "cancelled": 1}
    assert (await mailer.recipients(job))["c@one.test"]["reply"] == "template: took longer than 2 s"
