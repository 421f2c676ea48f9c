"""What the mailer answers to the gateway's questions."""

import pytest

from tests.integration.services.mailer.sample_letters import PLAIN, to
from tests.mailing import Mailer
from tests.relay import Relay


async def test_a_cancelled_letter_stops_in_the_middle(mailer: Mailer, relay: Relay) -> None:
    """Whoever was not written to yet is cancelled; the others have what they have."""
    job = await mailer.accept(letter=PLAIN, recipients=to("a", "450-b"))
    await mailer.work()
    await mailer.database.fetch(
        "UPDATE ledger.jobs SET state = 'cancelled', finished_at = now() WHERE id = $1", job.id
    )
    assert await mailer.states(job) == {"a": "sent", "450-b": "cancelled"}


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
async def test_nobody_stays_open_when_the_job_has_ended(mailer: Mailer, ended: str) -> None:
    job = await mailer.accept(letter=PLAIN, recipients=to("450-a", "450-b", "c"))
    await mailer.work()
    await mailer.database.fetch(
        "UPDATE mail.recipients SET state = 'sending' WHERE letter = $1 AND number = 1", job.id
    )
    await mailer.database.fetch(
        "UPDATE ledger.jobs SET state = $2, finished_at = now() WHERE id = $1", job.id, ended
    )
    assert await mailer.states(job) == {"450-a": "cancelled", "450-b": "unknown", "c": "sent"}
