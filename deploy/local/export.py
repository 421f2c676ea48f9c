"""`make export DATASET=jobs FORMAT=csv`: writes a dataset of the tenant `dev` to a file here."""

import time
from pathlib import Path

from deploy.local import state
from deploy.local.calls import asked, opened
from deploy.local.errors import CannotRun

CHUNK = 1024 * 1024
ASKED_EVERY_S = 1.0


def export(dataset: str, format_: str) -> None:
    """Export, tell how far it is, and download the file. Raises CannotRun."""
    fleet = state.load()
    job = asked(fleet, "/v1/exports", {"dataset": dataset, "format": format_})
    while not job["finished_at"]:
        print(f"{(job['progress'] or {'done': 0})['done']:,} rows …", flush=True)
        time.sleep(ASKED_EVERY_S)
        job = asked(fleet, f"/v1/jobs/{job['id']}")
    if job["state"] != "succeeded":
        raise CannotRun(f"The export has {job['state']}: {(job['error'] or {}).get('message')}")
    file = job["artifacts"][0]
    with opened(fleet, file["url"]) as content, Path(file["name"]).open("wb") as written:
        while chunk := content.read(CHUNK):
            written.write(chunk)
    print(
        f"{file['name']}: {job['result']['rows']:,} rows, {file['size']:,} bytes, as of {job['result']['as_of']}"
    )
