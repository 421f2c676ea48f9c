"""The alerts of deploy/prometheus, and what its runbooks say to each."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROMETHEUS = Path(__file__).parents[1] / "prometheus"
RULES = PROMETHEUS / "rules"


@dataclass(frozen=True)
class Alert:
    """One alert. `runbook` is the Markdown under its heading; `dashboard` a path of Grafana."""

    name: str
    group: str
    severity: str
    expression: str
    runbook: str
    dashboard: str


@cache
def alerts() -> tuple[Alert, ...]:
    """All, in the order of the rules."""
    return tuple(
        Alert(
            rule["alert"],
            group["name"],
            rule["labels"]["severity"],
            rule["expr"],
            _section(rule["annotations"]["runbook"], rule["alert"]),
            rule["annotations"]["dashboard"],
        )
        for group in groups()
        for rule in group["rules"]
        if "alert" in rule
    )


@cache
def groups() -> tuple[dict[str, Any], ...]:
    """The groups of all files of rules, as Prometheus reads them."""
    files = sorted(RULES.glob("*.yml"))
    return tuple(group for file in files for group in yaml.safe_load(file.read_text())["groups"])


def _section(runbook: str, heading: str) -> str:
    page = (PROMETHEUS / runbook.partition("#")[0]).read_text()
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.S | re.M)
    if section is None:
        raise LookupError(f"{runbook} has no section {heading}")
    return section[1].strip()
