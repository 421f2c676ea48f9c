"""docs/deploy.md is true: its Secrets are those that the manifests name, and what it applies is there."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.k8s.rendering import MANIFESTS, find, kubectl_path, overlay, render
from libs.common.contracts.services import SERVICES
from tests.unit.deploy.k8s.settings_given import template
from tests.unit.deploy.k8s.trees import unchanged

ROOT = MANIFESTS.parents[1]
TEXT = (ROOT / "docs" / "deploy.md").read_text()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The Secrets that the commands of the page would make."""
    (block,) = (block for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) if "secret()" in block)
    folder: Path = tmp_path_factory.mktemp("secrets")
    kubectl = folder / "kubectl"
    kubectl.write_text(f'#!/bin/sh\nexec {kubectl_path()} "$@" --dry-run=client -o json\n')
    kubectl.chmod(0o755)
    script = f"PATH={folder}:$PATH\n{block.replace('.venv/bin/python', sys.executable)}"
    told = subprocess.run(["bash", "-eu", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    made = re.findall(r"^\{.*?^\}", told.stdout, re.DOTALL | re.MULTILINE)
    return {
        one["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in one["data"].items()}
        for one in map(json.loads, made)
    }


def test_its_secrets_have_what_the_templates_have(secrets: dict[str, dict[str, str]]) -> None:
    templates = {
        f"{path.parent.name}-secrets": template(path).keys() for path in MANIFESTS.glob("*/*/secrets.example.env")
    }
    servers = MANIFESTS / "components" / "servers"
    templates |= {
        f"{name}-secrets": template(servers / f"{name}.example.env").keys() for name in ("postgres", "nats")
    }
    assert {name: values.keys() for name, values in secrets.items() if name != "redis-secrets"} == templates
    assert secrets["redis-secrets"]["users.acl"].startswith("user default off")


def test_servers_and_services_are_given_the_same_passwords(secrets: dict[str, dict[str, str]]) -> None:
    owner = secrets["postgres-secrets"]["POSTGRES_PASSWORD"]
    assert f":{owner}@" in secrets["migrations-secrets"]["DATABASE_URL"]
    for service in SERVICES:
        password = secrets["nats-secrets"][f"NATS_{service.name.upper()}_PASSWORD"]
        assert f"{service.name}:{password}@" in secrets[f"{service.name}-secrets"]["NATS_URL"]
        assert f"argosy_{service.name}_login:{password}@" in secrets[f"{service.name}-secrets"]["DATABASE_URL"]
        assert password[0].isalpha()
    of_services = [(name, value) for one in secrets.values() for name, value in one.items()]
    values = {name: value for name, value in of_services if name.endswith("_SECRET")}
    assert set(values) == {
        "TOKEN_SECRET",
        "MAIL_SECRET",
        "ANALYTICS_SECRET",
        "SYNC_SECRET",
        "LINK_SECRET",
        "OCR_SECRET",
        "KEY_SECRET",
    }
    assert len(set(values.values())) == len(values)
    assert all(len(value) >= 32 for value in values.values())
    assert secrets["gateway-secrets"]["LINK_SECRET"] == secrets["exporter-secrets"]["LINK_SECRET"]
    assert secrets["gateway-secrets"]["OCR_SECRET"] == secrets["ocr-secrets"]["OCR_SECRET"]


def test_all_that_it_applies_can_be_rendered() -> None:
    folders = re.findall(r"kubectl apply -k (\S+)", TEXT)
    assert [folder.rpartition("/")[2] for folder in folders] == ["namespace", "servers", "migrations"]
    assert all(render(ROOT / folder) for folder in folders)


def test_the_names_in_it_are_those_of_the_manifests() -> None:
    production, servers = unchanged(overlay("production")), unchanged(overlay("staging") / "servers")
    for server in ("postgres", "redis", "nats"):
        find(servers, "StatefulSet", server)
    find(production, "Service", "gateway")
    for name in re.findall(r"`overlays/<env>/(\w+)`", TEXT):
        assert (overlay("production") / name).is_dir()
    for name in re.findall(r"^\| [^|]*\| `(\w+\.env)`", TEXT, re.MULTILINE):
        assert (overlay("production") / name).is_file()
    components = {path.name for path in (MANIFESTS / "components").iterdir()}
    assert components == {name for name in components if f"`{name}`" in TEXT}
