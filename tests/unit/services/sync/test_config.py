"""A worker does not start with settings that it cannot work with."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.syncing import settings_of


def test_one_job_at_once_and_no_further_network_are_the_default(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert (settings.slots, settings.allowed_networks) == (1, ())


def test_networks_are_separated_by_commas(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, sync_allowed_networks="127.0.0.0/8, fd00::/8")
    assert settings.allowed_networks == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"sync_secret": "short"},
        {"sync_concurrency": 0},
        {"sync_allowed_networks": "10.0.0.1/8"},
        {"sync_contact_url": "ftp://example.com"},
        {"sync_contact_url": "https://example.com/\r\nX: y"},
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings_of(tmp_path, **wrong)
