"""A letter that gives way to other tenants goes on where it stopped: each recipient gets it once."""

import asyncio
from collections import Counter

import pytest

from libs.common.contracts.events import cancel_subject, encode_preemptions
from libs.common.db import Database
from libs.common.ledger import sharing
from libs.common.ledger.jobs import NewJob
from tests.mailing import Mailer
from tests.polling import until
from tests.relay import Relay

RECIPIENTS = 60


async def letter(mailer: Mailer, number: int = RECIPIENTS, *, tenant: str = "dev") -> NewJob:
    recipients = [{"to": f"{tenant}{n}@d{n % 7}.test", "variables": {"n": n}} for n in range(number)]
    return await mailer.accept(
        tenant=tenant, letter={"subject": "{{ n }}", "text": "Number {{ n }}."}, recipients=recipients
    )


async def ask(mailer: Mailer, database: Database, job: NewJob) -> None:
    """As the dispatcher does it."""
    rows = await database.fetch(
        "UPDATE ledger.jobs SET preempted = array_append(preempted, attempt) WHERE id = $1 AND state = 'running'"
        " RETURNING attempt",
        job.id,
    )
    await mailer.bus.publish(cancel_subject("mailer"), encode_preemptions([(job.id, row[0]) for row in rows]))


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "BODY", "END", "OVER"])
async def test_whenever_it_gives_way_each_recipient_gets_it_once(
    mailer: Mailer, relay: Relay, gateway_database: Database, step: str
) -> None:
    asking, seen = list[asyncio.Task[None]](), Counter[str]()

    def at(now: str, _recipient: str) -> None:
        seen[now] += 1
        if now == step and seen[now] in (5, 25):
            asking.append(asyncio.create_task(ask(mailer, gateway_database, job)))

    job = await letter(mailer)
    relay.at = at
    async with mailer.at_work(workers=2):
        facts = await mailer.ended(job)
    await asyncio.gather(*asking)
    assert facts["result"] == {"recipients": RECIPIENTS, "sent": RECIPIENTS}
    assert (facts["state"], facts["failures"], facts["errors"]) == ("succeeded", 0, None)
    assert set(relay.counts().values()) == {1}
    assert len(relay.counts()) == RECIPIENTS
    (row,) = await gateway_database.fetch("SELECT crashes, preempted FROM ledger.jobs WHERE id = $1", job.id)
    assert row[0] == 0
    assert row[1], "it was asked while it ran"
    assert facts["attempt"] > 1, "and gave way"


async def test_a_flood_of_letters_to_a_slow_relay_lets_anothers_through(
    mailer: Mailer, relay: Relay, gateway_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "WAITED_S", 0.5)
    monkeypatch.setattr(sharing, "LONG_S", 0.0)
    await mailer.configured(email_concurrency=2)
    held = [
        await mailer.accept(
            tenant="flood", letter={"subject": "a", "text": "b"}, recipients=[{"to": f"hang-{n}@slow{n}.test"}]
        )
        for n in range(4)
    ]
    async with mailer.at_work():

        async def both_hang() -> bool:
            return len(relay.tries) == 2

        await until(both_hang)
        other = await letter(mailer, 3, tenant="other")
        assert (await mailer.ended(other))["result"] == {"recipients": 3, "sent": 3}
        relay.kind_at = 0.0
        (row,) = await gateway_database.fetch("SELECT count(*) FROM ledger.jobs WHERE preempted IS NOT NULL")
        assert row[0] >= 1
        for job in held:
            await gateway_database.fetch(
                "UPDATE ledger.jobs SET cancel_requested_at = now() WHERE id = $1", job.id
            )
    assert len([at for at in relay.counts() if at.startswith("other")]) == 3
