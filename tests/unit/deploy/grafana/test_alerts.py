"""Alerts are read with what their runbooks say."""

from pathlib import Path

import pytest

from deploy.grafana import alerts
from deploy.grafana.alerts import Alert


@pytest.fixture
def prometheus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as deploy/prometheus with one alert."""
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "rules.yml").write_text(
        """
groups:
  - name: argosy-cargo
    rules:
      - {record: "argosy:cargo", expr: sum(cargo)}
      - alert: CargoLost
        expr: argosy:cargo == 0
        labels: {severity: critical}
        annotations: {runbook: "runbooks/cargo.md#cargolost", dashboard: "/d/cargo?viewPanel=1"}
"""
    )
    monkeypatch.setattr(alerts, "PROMETHEUS", tmp_path)
    monkeypatch.setattr(alerts, "RULES", tmp_path)
    for cached in (alerts.alerts, alerts.groups):
        monkeypatch.setattr(alerts, cached.__name__, cached.__wrapped__)
    return tmp_path


def test_an_alert_has_the_words_under_its_heading(prometheus: Path) -> None:
    page = "# Cargo\n\n## CargoLate\n\nWait.\n\n## CargoLost\n\n**Means:** Look.\n\nTwice.\n\n## Other\n\nNo.\n"
    (prometheus / "runbooks" / "cargo.md").write_text(page)
    (alert,) = alerts.alerts()
    runbook = "**Means:** Look.\n\nTwice."
    assert alert == Alert(
        "CargoLost", "argosy-cargo", "critical", "argosy:cargo == 0", runbook, "/d/cargo?viewPanel=1"
    )


def test_an_alert_without_a_runbook_is_told(prometheus: Path) -> None:
    (prometheus / "runbooks" / "cargo.md").write_text("# Cargo\n")
    with pytest.raises(LookupError, match="CargoLost"):
        alerts.alerts()
