"""What others make of /openapi.json: linters find no error, and the clients that are generated work.

`make clients-check` runs it. The generators are installed below .run, from the registries of Python and Node.
`make test` needs neither, and checks the document itself (tests/unit/services/gateway/http/test_openapi.py).
"""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.peers.contenders import install_node, install_python
from services.gateway.http.openapi import document
from services.gateway.routes import OPERATIONS
from tests.e2e.pages import ROOT
from tests.e2e.pasting import checkout

HERE = Path(__file__).parent
INSTALLED = ROOT / ".run" / "clients"
PYTHON = ["openapi-python-client==0.29.1", "openapi-spec-validator==0.9.0", "mypy==2.4.0"]


def ran(command: Sequence[str | Path], folder: Path) -> str:
    """What it prints. It must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/openapi.json as a file."""
    path = tmp_path_factory.mktemp("api") / "openapi.json"
    path.write_text(json.dumps(document(OPERATIONS, "https://api.example.com")))
    return path


@pytest.fixture(scope="session")
def python() -> Path:
    """The programs of an environment with the generator."""
    install_python(INSTALLED / "python", PYTHON)
    return INSTALLED / "python" / "bin"


@pytest.fixture(scope="session")
def node() -> Path:
    """The programs of Node."""
    install_node(HERE / "node", INSTALLED / "node")
    return INSTALLED / "node" / "node_modules" / ".bin"


@pytest.fixture(scope="session")
def client(api: Path, python: Path) -> Path:
    """The folder of a generated package `argosy_client`."""
    folder = api.parent / "argosy_client"
    made = ran(
        [
            python / "openapi-python-client", "generate", "--path", api, "--output-path", folder, "--meta", "none",
            "--config", HERE / "python_client.yaml",
        ],
        api.parent,
    )  # fmt: skip
    set_aside = ["parsing POST /v1/events within events."]  # see python_client.yaml
    assert sorted(set(re.findall("WARNING (.*)", made))) == set_aside, made
    return folder


def test_the_document_is_valid(api: Path, python: Path) -> None:
    assert "OK" in ran([python / "openapi-spec-validator", api], api.parent)


def test_the_python_client_has_types_that_fit(client: Path, python: Path) -> None:
    ran([python / "mypy", "--strict", client.name, HERE / "use_python_client.py"], client.parent)


@pytest.mark.long
def test_the_python_client_reads_a_scan_and_sends_a_letter(client: Path, python: Path, tmp_path: Path) -> None:
    with checkout(tmp_path) as made:
        shutil.copytree(client, made.folder / "argosy_client")
        (said,) = made.paste(
            [f". .run/dev.env && PYTHONPATH=. {python / 'python'} {HERE / 'use_python_client.py'}"]
        )
        told = json.loads(said)
    assert told["ocr"] == told["mail"] == "succeeded"
    assert "HARBOUR" in told["text"].upper()
    assert told["recipients"] == {"sent": 1}


@pytest.mark.parametrize(
    "command",
    [
        ["spectral", "lint", "--fail-severity", "error", "--ruleset", INSTALLED / "node" / ".spectral.yaml"],
        ["redocly", "lint", "--config", INSTALLED / "node" / "redocly.yaml"],
    ],
    ids=lambda command: str(command[0]),
)
def test_linters_find_no_error(api: Path, node: Path, command: list[str | Path]) -> None:
    print(ran([node / command[0], *command[1:], api], node.parents[1]))


def test_typescript_compiles_with_the_generated_types(api: Path, node: Path, tmp_path: Path) -> None:
    shutil.copy(HERE / "node" / "client.ts", tmp_path)
    ran(
        [node / "openapi-typescript", "--default-non-nullable=false", api, "--output", tmp_path / "api.d.ts"],
        tmp_path,
    )
    strict = ["--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    ran([node / "tsc", *strict, "--lib", "es2022,dom", tmp_path / "client.ts"], tmp_path)
