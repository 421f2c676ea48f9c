"""Who gets no mail, and why."""

from tests.mailing import Mailer


async def test_an_address_that_the_relay_does_not_know_gets_no_more_mail(mailer: Mailer) -> None:
    for expected in ("bounced", "suppressed"):
        job = await mailer.accept(letter={"text": "x"}, to=["550-a@example.test"])
        await mailer.finish(job)
        assert (await mailer.states(job))["550-a"] == expected
