"""A letter is given a link that leads to the file."""

from pathlib import Path

from libs.common.ledger.jobs import new_id
from libs.common.links import link_of
from libs.common.worker.job import Artifact
from services.exporter.letters import link_to
from tests.exporting import LINK_SECRET, settings_of


def test_the_link_is_that_of_the_file(tmp_path: Path) -> None:
    job = new_id()
    file = Artifact("jobs.csv", "text/csv", 1, "ab" * 32, "key")
    made = link_to(file, "acme", job, settings_of(tmp_path, link_url="https://x.example/v1/download"))
    begin, _, token = made["link"].rpartition("/")
    link = link_of(token, LINK_SECRET)
    assert begin == "https://x.example/v1/download"
    assert link is not None
    assert (link.tenant, link.job, link.name, link.sha256) == ("acme", job, "jobs.csv", "ab" * 32)
