"""A letter is given links that lead to the files."""

from libs.common.contracts.exports import ExportRequest
from libs.common.ledger.jobs import new_id
from libs.common.links import link_of
from libs.common.worker.job import Artifact
from services.exporter.letters import links_to
from services.exporter.manifest import Written
from tests.exporting import LINK_SECRET, settings_of


def test_each_link_is_that_of_its_file() -> None:
    job = new_id()
    request = ExportRequest.model_validate({"dataset": "jobs", "format": "csv"})
    files = [
        Written(request, Artifact(name, "text/csv", 1, digit * 64, "key"), {})
        for name, digit in (("jobs.csv", "a"), ("jobs-2.csv", "b"))
    ]
    made = links_to(files, "acme", job, settings_of(public_url="https://x.example/"))
    for file, told in zip(files, made["files"], strict=True):
        begin, _, token = told["link"].rpartition("/")
        link = link_of(token, LINK_SECRET)
        assert begin == "https://x.example/v1/download"
        assert link is not None
        assert (link.tenant, link.job) == ("acme", job)
        assert (link.name, link.sha256) == (file.artifact.name, file.artifact.sha256)
    assert {"file": made["file"], "link": made["link"]} == made["files"][0]
