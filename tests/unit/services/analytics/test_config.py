"""A worker does not start with settings that it cannot work with."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.analysing import settings_of


def test_two_jobs_at_once_and_400_days_are_the_default(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert (settings.slots, settings.analytics_retention_days) == (2, 400)


@pytest.mark.parametrize(
    "wrong", [{"analytics_secret": "short"}, {"analytics_concurrency": 0}, {"analytics_retention_days": 0}]
)
def test_what_cannot_be_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings_of(tmp_path, **wrong)
