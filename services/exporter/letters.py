"""The letter that tells of files: a job of the mailer, made in the transaction that ends the export."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from libs.common.contracts.mail import MailPayload
from libs.common.db import Connection, fetch_within
from libs.common.ledger.jobs import new_id
from libs.common.links import LIFE_AT_MOST_S, Link, token_of
from libs.common.worker.job import Artifact
from services.exporter.config import Settings
from services.exporter.manifest import Written

# Whoever asked for the file is who sends the letter.
_ENQUEUE = """
SELECT ledger."mailer:letter"($1::uuid, $2, (SELECT created_by FROM ledger.jobs WHERE id = $3::uuid), $4::jsonb)
"""


def links_to(files: Sequence[Written], tenant: str, job: UUID, settings: Settings) -> dict[str, Any]:
    """The variables `file` and `link` of the first, `files` with these of each, and `expires_at` of all links."""
    expires = int(time.time()) + LIFE_AT_MOST_S
    each = [
        {"file": file.artifact.name, "link": _link_to(file.artifact, tenant, job, expires, settings)}
        for file in files
    ]
    return {**each[0], "files": each, "expires_at": _shown(datetime.fromtimestamp(expires, UTC))}


def _link_to(artifact: Artifact, tenant: str, job: UUID, expires: int, settings: Settings) -> str:
    """Where the file is for whoever has the link."""
    link = Link(tenant, job, artifact.name, artifact.sha256, expires)
    return f"{settings.public_url}/v1/download/{token_of(link, settings.link_secret.get_secret_value())}"


async def send(
    connection: Connection, letter: MailPayload, tenant: str, job: UUID, variables: dict[str, Any]
) -> None:
    """Send `letter` with these variables for each recipient, if the transaction commits."""
    recipients = tuple(
        one.model_copy(update={"variables": one.variables | variables}) for one in letter.recipients
    )
    payload = letter.model_copy(update={"recipients": recipients}).model_dump_json(by_alias=True)
    await fetch_within(connection, _ENQUEUE, new_id(), tenant, job, payload)


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
