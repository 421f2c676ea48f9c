"""Receives bounces (delivery status notifications, RFC 3464) and complaints (RFC 5965) over LMTP.

The return path says which recipient a report is about. Every recipient of every letter has a return path of its
own, with a token that only the mailer can create (recipient_tokens.py). So the content of a report can change
nothing about other recipients.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope, Session

from libs.common import background, log, metrics
from libs.common.db import Database
from libs.common.errors import Unavailable, storable
from libs.common.ledger.durability import CONFIRMED
from services.mailer import suppressions
from services.mailer.lmtp import ReportSession
from services.mailer.recipient_tokens import RETURN_PREFIX, RecipientRef, RecipientTokens
from services.mailer.refusals import TokenInvalid, TooEarly
from services.mailer.suppressions import is_hard

# The mail server that hands in a report forgets it: one that was recorded before must be replicated by now.
_BOUNCED = f"""
WITH ended AS (SELECT NOT EXISTS (SELECT FROM ledger.jobs WHERE id = $1 AND finished_at IS NULL) AS ended),
bounced AS (
  UPDATE mail.recipients SET state = 'bounced', code = NULL, enhanced = $3, reply = $4, updated_at = now()
  FROM ended WHERE letter = $1 AND number = $2 AND (state IN ('sent', 'unknown') OR state = 'sending' AND ended))
SELECT FROM mail.recipients, ended
WHERE letter = $1 AND number = $2 AND state IN ('queued', 'deferred', 'sending') AND NOT ended
UNION ALL SELECT WHERE NOT {CONFIRMED}
"""  # noqa: S608 - made of constants

logger = log.get("bounces")


@dataclass(frozen=True, slots=True)
class Report:
    """A complaint, or a permanent failure with its enhanced status code (RFC 3463)."""

    is_complaint: bool
    status: str = ""
    text: str = ""


def read(content: bytes) -> Report | None:
    """Parse a message. Returns None for a report of a delay, and for anything else, such as a vacation notice."""
    message: EmailMessage = message_from_bytes(content, policy=policy.default)
    for part in message.walk():
        if part.get_content_type() == "message/feedback-report":
            return Report(is_complaint=True)
        if part.get_content_type() == "message/delivery-status":
            return _delivery_status(part)
    return None


def _delivery_status(part: Message) -> Report | None:
    """Return the first failure reported: each message has only one recipient."""
    payload = part.get_payload()
    for block in payload if isinstance(payload, list) else ():
        if not isinstance(block, Message):
            continue
        action = str(block.get("Action", "")).strip().lower()
        if action == "failed":  # permanent even with a 4.x.x status: the last server has given up
            status = str(block.get("Status", "")).split()
            text = " ".join(str(block.get("Diagnostic-Code", "")).partition(";")[2].split())
            return Report(False, status[0][:20] if status else "5.0.0", storable(text)[:500])
    return None


class ReportServer:
    """An LMTP server that receives reports and records them."""

    def __init__(self, database: Database, tokens: RecipientTokens) -> None:
        self._database = database
        self._tokens = tokens

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Serve LMTP while the block runs. Yields the port."""
        loop, sessions = asyncio.get_running_loop(), WeakSet[ReportSession]()

        def new_session() -> ReportSession:
            session = ReportSession(self, enable_SMTPUTF8=True, loop=loop)
            sessions.add(session)
            return session

        server = await loop.create_server(new_session, host, port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:  # a client without a reply delivers again
            server.close()
            for session in sessions:
                if session.transport is not None:
                    session.transport.close()
            await background.end([s._handler_coroutine for s in sessions if s._handler_coroutine is not None])

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Accept only return paths of this mailer. Called for each recipient."""
        try:
            self._recipient_of(address)
        except TokenInvalid:
            return "550 5.1.1 not a return path of this server"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 recipient accepted"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Record what a message reports. Called for each complete message."""
        content = envelope.original_content or b""
        try:
            report = read(content)
            for address in envelope.rcpt_tos:
                await self.record(self._recipient_of(address), report)
        except (Unavailable, TooEarly):
            return "451 4.3.0 try again later"
        except Exception:  # an unusable message is accepted, because delivering it again would not help
            logger.exception("bounce.unreadable")
        return "250 2.0.0 message accepted"

    async def record(self, recipient: RecipientRef, report: Report | None) -> None:
        """Record what a report says about a recipient. Raises TooEarly, Unavailable."""
        if report is None:
            return
        if report.is_complaint:
            await suppressions.suppress_recipient(self._database, *recipient, "complaint")
        else:
            if is_hard(report.status):
                await suppressions.suppress_recipient(self._database, *recipient, "bounce")
            if await self._database.fetch(_BOUNCED, *recipient, storable(report.status), report.text):
                raise TooEarly
        metrics.mail_reports.labels("complaint" if report.is_complaint else "bounce").inc()

    def _recipient_of(self, address: str) -> RecipientRef:
        local = address.partition("@")[0].lower()
        if not local.startswith(RETURN_PREFIX):
            raise TokenInvalid
        return self._tokens.read(local.removeprefix(RETURN_PREFIX))
