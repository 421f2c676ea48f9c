"""What a process tells of itself while it runs."""

import tomllib
from pathlib import Path

from prometheus_client import REGISTRY

from libs.common import telemetry
from libs.common.config import TelemetrySettings

ROOT = Path(__file__).parents[4]


def test_prometheus_is_told_what_runs() -> None:
    with telemetry.running(TelemetrySettings(argosy_version="4dfe942")):
        labels = {"version": telemetry.VERSION, "commit": "4dfe942"}
        assert REGISTRY.get_sample_value("argosy_build_info", labels) == 1


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "libs.common.telemetry.VERSION"}
