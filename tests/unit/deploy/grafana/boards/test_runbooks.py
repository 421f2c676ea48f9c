"""Whoever meets an alert finds what to do beside the boards."""

import re

from deploy.grafana.alerts import alerts
from deploy.grafana.boards.runbooks import RUNBOOKS


def test_every_alert_has_its_runbook_on_a_board() -> None:
    words = {panel.title: panel.words for panel in RUNBOOKS.panels}
    assert list(words) == [alert.name for alert in alerts()]
    for alert in alerts():
        assert alert.runbook.startswith("**Means:**")
        assert alert.expression in words[alert.name]
    assert not re.search(r"\]\((?!https?:|/d/)", "".join(words.values())), "a link that leads nowhere in Grafana"
