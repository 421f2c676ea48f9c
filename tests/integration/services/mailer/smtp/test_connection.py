"""Relays that are down, and the next one."""

from deploy.local.test_servers import free_port
from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import Mailer
from tests.relay import Relay, relaying


async def test_a_relay_that_is_down_loses_nothing_and_costs_nobody_a_try(mailer: Mailer) -> None:
    port = free_port()
    await mailer.configured(mail_relays=f"smtp://127.0.0.1:{port}")
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "b", "c"))
    await mailer.work()
    assert set((await mailer.states(job)).values()) == {"queued"}
    async with relaying(Relay(), port=port) as relay:
        await mailer.finish(job)
    assert set(relay.counts().values()) == {1}
    assert {known["tries"] for known in (await mailer.recipients(job)).values()} == {1}


async def test_the_second_relay_takes_over(mailer: Mailer, relay: Relay) -> None:
    await mailer.configured(mail_relays=f"smtp://127.0.0.1:{free_port()} smtp://127.0.0.1:{relay.port}")
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "b", "c"))
    assert (await mailer.finish(job))["result"] == {"recipients": 3, "sent": 3}
