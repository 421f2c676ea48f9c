"""Prometheus can read every query of the boards, and the rules as its operator is given them."""

import json
import subprocess
from pathlib import Path

from deploy.grafana.__main__ import rules
from deploy.grafana.boards import BOARDS
from deploy.grafana.rendering import DEPLOYS
from deploy.local import debian_programs


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    command = [debian_programs.find("promtool"), "check", "rules", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def written(folder: Path, *expressions: str) -> Path:
    """A file of rules with these expressions."""
    recorded = [{"record": f"query:{place}", "expr": one} for place, one in enumerate(expressions)]
    file = folder / "rules.yml"  # JSON is YAML too
    file.write_text(json.dumps({"groups": [{"name": "boards", "rules": recorded}]}))
    return file


def test_queries_can_be_read(tmp_path: Path) -> None:
    queries = [query.promql for board in BOARDS for panel in board.panels for query in panel.queries]
    queries.append(DEPLOYS.promql)
    assert len(queries) > 100
    told = checked(written(tmp_path, *(query.replace("$__rate_interval", "1m") for query in queries)))
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{len(queries)} rules found" in told.stdout
    assert checked(written(tmp_path, 'sum by (queue (x{namespace="$namespace"})')).returncode != 0


def test_the_operator_is_given_the_same_rules(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps(rules()["spec"]))
    told = checked(file)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{sum(len(group['rules']) for group in rules()['spec']['groups'])} rules found" in told.stdout
