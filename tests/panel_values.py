"""What a panel shows of made-up series, worked out by Prometheus' own promtool."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.grafana.alerts import RULES
from deploy.grafana.panels import Board
from deploy.local import debian_programs

NAMESPACE = "p"
Values = Mapping[str, float]


def assert_shows(
    folder: Path, board: Board, title: str, series: Mapping[str, str], *expected: Values, minutes: float = 10
) -> None:
    """The queries of the panel, one after the other, give these values after `minutes`.

    `series` are in promtool's notation, without `namespace`. A value's key is its labels, such as `{queue="ocr"}`.
    """
    (panel,) = (panel for panel in board.panels if panel.title == title)
    assert len(panel.queries) == len(expected)
    chosen = {"$namespace": NAMESPACE, "$queue": ".+", "$__rate_interval": "5m"}
    questions = []
    for query, values in zip(panel.queries, expected, strict=True):
        promql = query.promql
        for name, value in chosen.items():
            promql = promql.replace(name, value)
        samples = [{"labels": labels, "value": value} for labels, value in values.items()]
        # To the thousandth: increase() extrapolates.
        rounded = f"round({promql}, 0.001)"
        questions.append({"expr": rounded, "eval_time": f"{int(minutes * 60)}s", "exp_samples": samples})
    given = [
        {"series": name.replace("{", f'{{namespace="{NAMESPACE}",', 1), "values": values}
        for name, values in series.items()
    ]
    test = {"interval": "15s", "input_series": given, "promql_expr_test": questions}
    file = folder / "test.yml"  # JSON is YAML too
    rules = [str(path) for path in sorted(RULES.glob("*.yml"))]
    file.write_text(json.dumps({"rule_files": rules, "evaluation_interval": "1m", "tests": [test]}))
    command = [debian_programs.find("promtool"), "test", "rules", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
