"""`make boards`: the boards as Grafana reads them, and boards and rules as Kubernetes takes them.

python -m deploy.grafana [FOLDER]. With a folder, the boards are written there, with a file that tells a Grafana
server to load them. Without one, the components `boards` and `rules` of deploy/k8s are made ready.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from deploy.grafana.alerts import groups
from deploy.grafana.boards import BOARDS
from deploy.grafana.rendering import to_json
from deploy.k8s.rendering import MANIFESTS

COMPONENTS = MANIFESTS / "components"


def write_boards(folder: Path) -> None:
    """A file for each board."""
    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        (folder / f"{board.name}.json").write_text(to_json(board))


def provider(folder: Path) -> dict[str, Any]:
    """What Grafana is told: to show the boards in `folder`, which nobody changes in Grafana."""
    options = {"path": str(folder.resolve())}
    name = {"name": "Argosy", "folder": "Argosy", "folderUid": "argosy", "type": "file"}
    return {"apiVersion": 1, "providers": [{**name, "allowUiUpdates": False, "options": options}]}


def rules() -> dict[str, Any]:
    """All rules of deploy/prometheus, as the Prometheus operator takes them."""
    metadata = {"name": "argosy"}
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
    return {**kind, "metadata": metadata, "spec": {"groups": list(groups())}}


def prepare(components: Path) -> None:
    """Write what the components `boards` and `rules` refer to."""
    write_boards(components / "boards")
    (components / "rules" / "rules.yaml").write_text(json.dumps(rules(), indent=1) + "\n")


def main() -> None:
    """Write, and say where."""
    parser = argparse.ArgumentParser(prog="python -m deploy.grafana")
    parser.add_argument("folder", nargs="?", type=Path)
    folder: Path | None = parser.parse_args().folder
    if folder:
        write_boards(folder / "boards")
        # JSON is YAML too.
        (folder / "provider.yaml").write_text(json.dumps(provider(folder / "boards"), indent=1) + "\n")
        print(f"{len(BOARDS)} boards: {folder}/boards. {folder}/provider.yaml belongs in provisioning/dashboards.")
        return
    prepare(COMPONENTS)
    print(f"{len(BOARDS)} boards, and the rules: the components boards and rules can be rendered.")


if __name__ == "__main__":
    main()
