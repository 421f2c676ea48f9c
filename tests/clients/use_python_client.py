"""Reads a scan and sends a letter with the generated package `argosy_client`, and prints what came of it as JSON.

It is run in a checkout, with ARGOSY_URL and ARGOSY_KEY, by the Python in which the generator is.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, cast

from argosy_client import AuthenticatedClient
from argosy_client.api.jobs import download, show_job
from argosy_client.api.mail import list_recipients, submit_mail
from argosy_client.api.ocr import submit_ocr
from argosy_client.models import Job, JobWithErrors, MailSubmission, Recipient, RecipientVariables, SubmitOcrBody
from argosy_client.types import File
from httpx import Timeout

WITHIN_S = 120.0


def main() -> None:
    """Do both, one after the other."""
    with AuthenticatedClient(
        os.environ["ARGOSY_URL"], token=os.environ["ARGOSY_KEY"], timeout=Timeout(60.0)
    ) as client:
        with Path("examples/scan.pdf").open("rb") as scan:
            body = SubmitOcrBody(file=File(payload=scan, file_name="scan.pdf"))
            read = ended(client, submit_ocr.sync(client=client, body=body, prefer="wait=45"))
        text: Any = download.sync(read.id, "text.txt", client=client)
        letter = MailSubmission(
            from_="Harbour <office@example.com>",
            subject="Ahoy {{ name }}",
            text="Your cargo is in, {{ name }}.",
            recipients=[Recipient(to="ada@example.com", variables=RecipientVariables.from_dict({"name": "Ada"}))],
        )
        sent = ended(client, submit_mail.sync(client=client, body=letter, idempotency_key="letter-1"))
        recipients: Any = list_recipients.sync(sent.id, client=client)
    shown = {"ocr": read.state, "mail": sent.state, "recipients": recipients.counts.to_dict()}
    print(json.dumps(shown | {"text": text.payload.read().decode()}))


def ended(client: AuthenticatedClient, job: object) -> Job | JobWithErrors:
    """The job when it has ended."""
    assert isinstance(job, Job), job
    deadline, latest = time.monotonic() + WITHIN_S, cast(Job | JobWithErrors, job)
    while not latest.finished_at:
        assert time.monotonic() < deadline, latest
        time.sleep(0.2)
        asked = show_job.sync(job.id, client=client)
        assert isinstance(asked, JobWithErrors), asked
        latest = asked
    return latest


if __name__ == "__main__":
    main()
