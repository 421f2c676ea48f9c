"""What comes back over LMTP finds its recipient, and nobody else."""

import asyncio
from smtplib import LMTP, SMTPDataError, SMTPRecipientsRefused

import pytest

from deploy.local.test_servers import free_port
from libs.common.ledger.jobs import NewJob
from services.mailer import rpc_handlers
from tests.mailing import Mailer
from tests.relay import Relay

REPORT = """From: MAILER-DAEMON@far.test
To: {to}
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I am sorry.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; far.test

Final-Recipient: rfc822; ada@example.test
Action: {action}
Status: {status}
Diagnostic-Code: smtp; 550 {status} <ada@example.test>:
 not here

--b--
"""


COMPLAINT = """From: abuse@far.test
To: {to}
Subject: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Far/1
Version: 1

--b--
"""


HOLIDAY = "From: ada@example.test\nTo: {to}\nSubject: away\nAuto-Submitted: auto-replied\n\nBack on Monday.\n"


class Returns:
    """A mailer that takes bounces, and a letter to two that has been sent."""

    def __init__(self, mailer: Mailer, relay: Relay, job: NewJob, port: int) -> None:
        self.mailer, self.job, self._port = mailer, job, port
        self.path = {delivery.recipient: delivery.sender for delivery in relay.deliveries}["ada@example.test"]

    def come_back(self, message: str, *, to: str | None = None, **values: str) -> None:
        path = to or self.path
        with LMTP("127.0.0.1", self._port) as client:
            client.sendmail("", [path], message.format(to=path, **values).replace("\n", "\r\n").encode())

    async def suppressed(self) -> dict[str, str]:
        question = {"after": 0, "limit": 100, "address": None}
        found = await rpc_handlers.list_suppressions(self.job.tenant, question, self.mailer.deps)
        return {suppression["address"]: suppression["reason"] for suppression in found["suppressions"]}


@pytest.fixture
async def returns(mailer: Mailer, relay: Relay) -> Returns:
    port = free_port()
    await mailer.configured(mail_bounce_domain="back.argosy.test", mail_lmtp_port=port)
    job = await mailer.accept(
        letter={"text": "Dear {{ name }}"},
        recipients=[{"to": f"{name}@example.test", "variables": {"name": name}} for name in ("ada", "grace")],
    )
    await mailer.finish(job)
    assert len({delivery.sender for delivery in relay.deliveries}) == 2, "a return path for each"
    return Returns(mailer, relay, job, port)


async def returned(returns: Returns, message: str, **values: str) -> None:
    await asyncio.to_thread(lambda: returns.come_back(message, **values))


async def test_who_is_not_there_gets_no_more_mail(returns: Returns) -> None:
    await returned(returns, REPORT, action="failed", status="5.1.1")
    known = await returns.mailer.recipients(returns.job)
    ada = known["ada@example.test"]
    assert (ada["state"], ada["enhanced_code"]) == ("bounced", "5.1.1")
    assert ada["reply"] == "550 5.1.1 <ada@example.test>: not here"
    assert known["grace@example.test"]["state"] == "sent"
    assert await returns.suppressed() == {"ada@example.test": "bounce"}


@pytest.mark.parametrize(
    ("action", "status", "state"),
    [("delayed", "4.4.1", "sent"), ("failed", "5.2.2", "bounced"), ("failed", "4.4.7", "bounced")],
)
async def test_a_full_mailbox_is_no_reason_never_to_write_again(
    returns: Returns, action: str, status: str, state: str
) -> None:
    await returned(returns, REPORT, action=action, status=status)
    assert (await returns.mailer.states(returns.job))["ada"] == state
    assert await returns.suppressed() == {}


async def test_a_report_that_overtakes_its_letter_has_to_come_again(returns: Returns) -> None:
    mark = "UPDATE mail.recipients SET state = $2 WHERE letter = $1 AND address LIKE 'ada@%'"
    unfinished = "UPDATE ledger.jobs SET state = 'running', finished_at = NULL WHERE id = $1"
    await returns.mailer.database.fetch(unfinished, returns.job.id)
    await returns.mailer.database.fetch(mark, returns.job.id, "sending")
    with pytest.raises(SMTPDataError, match="451"):
        await returned(returns, REPORT, action="failed", status="5.1.1")
    assert (await returns.mailer.recipients(returns.job))["ada@example.test"]["code"] == 250
    await returns.mailer.database.fetch(mark, returns.job.id, "sent")
    await returned(returns, REPORT, action="failed", status="5.1.1")
    assert (await returns.mailer.states(returns.job))["ada"] == "bounced"


async def test_who_was_left_open_when_the_job_ended_can_still_bounce(returns: Returns) -> None:
    """What a worker that died leaves, when the job is cancelled before another has it."""
    mark = "UPDATE mail.recipients SET state = 'sending' WHERE letter = $1 AND address LIKE 'ada@%'"
    await returns.mailer.database.fetch(mark, returns.job.id)
    await returned(returns, REPORT, action="failed", status="5.2.2")
    assert (await returns.mailer.states(returns.job))["ada"] == "bounced"


async def test_who_complains_gets_no_more_mail(returns: Returns) -> None:
    await returned(returns, COMPLAINT)
    assert await returns.suppressed() == {"ada@example.test": "complaint"}
    assert (await returns.mailer.states(returns.job))["ada"] == "sent"


async def test_a_holiday_is_no_bounce(returns: Returns) -> None:
    await returned(returns, HOLIDAY)
    assert (await returns.mailer.states(returns.job), await returns.suppressed()) == (
        {"ada": "sent", "grace": "sent"},
        {},
    )


async def test_nobody_can_make_up_a_return_path(returns: Returns) -> None:
    forged = returns.path.replace("bounce-", "bounce-a", 1)
    for path in (forged, "office@back.argosy.test", "bounce-@back.argosy.test", returns.path[:-20]):
        with pytest.raises(SMTPRecipientsRefused):
            await returned(returns, REPORT, to=path, action="failed", status="5.1.1")
    await returned(returns, REPORT, to=returns.path.upper(), action="failed", status="5.1.1")
    assert await returns.suppressed() == {"ada@example.test": "bounce"}
