"""What each alert means, where to look and what to do: deploy/prometheus/runbooks, where the boards are."""

import re

from deploy.grafana.alerts import Alert, alerts
from deploy.grafana.panels import Board, Kind, Panel, Row


def _panel(alert: Alert) -> Panel:
    runbook = re.sub(r"\[([^]]*)]\((?!https?:)[^)]*\)", r"\1", alert.runbook)  # Grafana has not our other pages
    words = (
        f"{runbook}\n\n**Severity:** {alert.severity}. [What it shows]({alert.dashboard.partition('&')[0]})\n\n"
    )
    words += f"```\n{alert.expression}\n```\n"
    return Panel(alert.name, f"What to do about {alert.name}.", Kind.WORDS, words=words)


def _rows() -> tuple[Row, ...]:
    groups = dict.fromkeys(alert.group for alert in alerts())
    return tuple(
        Row(
            group.removeprefix("argosy-").capitalize(),
            tuple(_panel(one) for one in alerts() if one.group == group),
        )
        for group in groups
    )


RUNBOOKS = Board(
    "runbooks",
    "Argosy: Runbooks",
    "An alert fires. What does it mean, where do I look, and what do I do?",
    _rows(),
)
