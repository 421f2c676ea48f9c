"""A relay that hangs up in the middle of a message."""

import time

from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import Mailer
from tests.relay import Relay


async def test_hung_up_on_within_the_data_it_is_sent_again_or_in_doubt(mailer: Mailer, relay: Relay) -> None:
    """It depends on when the news arrives; but what is said is true: nothing did."""
    job = await mailer.accept(letter=PLAIN, recipients=to(*(f"drop-{number}" for number in range(20))))
    await mailer.work()
    states = await mailer.states(job)
    assert set(states.values()) <= {"deferred", "unknown"}
    assert relay.deliveries == []
    relay.kind_at = time.monotonic()
    await mailer.finish(job)
    again = await mailer.states(job)
    assert again == {name: "sent" if state == "deferred" else "unknown" for name, state in states.items()}
    assert set(relay.counts().values()) <= {1}


async def test_a_large_letter_is_hung_up_on_before_its_end(mailer: Mailer, relay: Relay) -> None:
    large = {"subject": "Tides", "text": "x" * 60 + "\n" + "0123456789abcdef\n" * 50_000}
    job = await mailer.accept(letter=large, to=["drop-a@example.test"])
    await mailer.work()
    assert await mailer.states(job) == {"drop-a": "deferred"}
