"""A new worker is one folder of manifests and one row in the table of services: everything else follows."""

from dataclasses import replace
from pathlib import Path

import pytest

from deploy import times
from deploy.k8s.rendering import MANIFESTS, Manifest, render
from deploy.local import settings
from libs.common.contracts.services import OCR, SERVICES, Need, Role, ServiceRow
from services.ocr.config import Settings as OcrSettings
from tests.unit.deploy.k8s.rules import broken
from tests.unit.deploy.k8s.test_network import allowed, declared
from tests.unit.deploy.k8s.trees import added, copied, unchanged

CUSTOMS = replace(
    OCR, name="customs", schema="customs", role=Role("argosy_customs"), concurrency_variable="OCR_CONCURRENCY"
)
"""A worker that does not exist. It reads the settings of the OCR worker."""
ALL = (*SERVICES, CUSTOMS)


@pytest.fixture(autouse=True)
def _it_reads_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    others = settings.settings_of
    monkeypatch.setattr(
        settings, "settings_of", lambda service: OcrSettings if service == CUSTOMS.name else others(service)
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The manifests with a folder for it, made from another worker's by replacing its name."""
    tree = copied(tmp_path)
    folder = tree / "services" / "customs"
    folder.mkdir()
    for path in sorted((MANIFESTS / "services" / "ocr").iterdir()):
        (folder / path.name).write_text(path.read_text().replace("ocr", "customs"))
    added(tree / "base" / "kustomization.yaml", "resources", "../services/customs")
    image = {
        "name": "argosy/customs",
        "newName": "registry.example.com/argosy/customs",
        "digest": f"sha256:{'1' * 64}",
    }
    added(tree / "overlays" / "production" / "images" / "kustomization.yaml", "images", image)
    return tree


def rendered(tree: Path) -> list[Manifest]:
    return render(tree / "overlays" / "production")


def test_with_its_folder_and_its_row_everything_holds(tree: Path) -> None:
    manifests = rendered(tree)
    assert broken(manifests, ALL) == []
    found, wanted = allowed("production", manifests), declared("production", ALL, [])
    assert {way for way in found[0] if "customs" in way} == {way for way in wanted[0] if "customs" in way} != set()
    assert {way for way in found[1] if "customs" in way} == {way for way in wanted[1] if "customs" in way} != set()
    assert any(link.name.startswith("customs ") for link in times.chain(manifests))


def test_its_connections_count(tree: Path) -> None:
    before, after = (
        next(link.value for link in times.chain(manifests) if link.name == "connections to PostgreSQL")
        for manifests in (unchanged(MANIFESTS / "overlays" / "production"), rendered(tree))
    )
    assert after == before + 3 * (10 + 1)


def test_without_its_row_it_is_told(tree: Path) -> None:
    assert any(what.startswith("the_table_of_services_is_what_runs") for what in broken(rendered(tree), SERVICES))


def test_without_its_folder_it_is_told() -> None:
    manifests = unchanged(MANIFESTS / "overlays" / "production")
    assert any(what.startswith("the_table_of_services_is_what_runs") for what in broken(manifests, ALL))


@pytest.mark.parametrize(
    "row",
    [
        replace(CUSTOMS, needs=CUSTOMS.needs | {Need.REDIS}),
        replace(CUSTOMS, needs=frozenset()),
        replace(CUSTOMS, calls_ports=frozenset({25})),
        replace(CUSTOMS, ports={**CUSTOMS.ports, "http": 8080}),
    ],
    ids=["redis", "no-blobs", "mail", "called"],
)
def test_what_its_row_says_and_its_manifests_do_not_is_told(tree: Path, row: ServiceRow) -> None:
    found, wanted = allowed("production", rendered(tree)), declared("production", (*SERVICES, row), [])
    assert {way for way in found[0] | found[1] if "customs" in way} != {
        way for way in wanted[0] | wanted[1] if "customs" in way
    }
