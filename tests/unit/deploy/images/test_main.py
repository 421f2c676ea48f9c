"""There is an image of everything that runs. It starts what its name says, and has all that this imports.

The images are built and run by `make images-test`: that takes a builder, and minutes.
"""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from deploy.images.__main__ import IMAGES, CannotBuild, build, builder
from deploy.images.requirements import read_lock, requirements_of
from libs.common.contracts.services import SERVICES

ROOT = Path(__file__).parents[4]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
IMPORT_ALL = """
import importlib, json, pkgutil, sys
missing = set(json.loads(sys.argv[1]))

class NotInTheImage:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, NotInTheImage())
for package in sys.argv[2:]:
    for module in pkgutil.walk_packages([package], f"{package}."):
        if module.name != "deploy.migrations.env":  # runs within Alembic only
            importlib.import_module(module.name)
            print(module.name)
"""
"""Imports every module of the packages in the current folder, without the top-level modules of the list."""


def stage(image: str) -> str:
    """The part of the Dockerfile that only this image has, and the last stage, which all have."""
    own = DOCKERFILE.partition(f"FROM runtime AS {image}\n")[2].partition("\nFROM ")[0]
    return own + DOCKERFILE.rpartition("\nFROM ")[2]


def module_of(image: str) -> str:
    return "deploy.migrations" if image == "migrations" else f"services.{image}"


def not_in(image: str) -> list[str]:
    """The top-level modules that are installed here, of packages that the image does not have."""
    has = read_lock(requirements_of(image)).keys()
    return [
        module
        for module, packages in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", package).lower() for package in packages} & has
    ]


def test_every_service_and_the_migrations_have_an_image() -> None:
    stages = set(re.findall(r"(?m)^FROM runtime AS (\S+)", DOCKERFILE))
    assert stages == set(IMAGES) == {service.name for service in SERVICES} | {"migrations"}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_starts_what_its_name_says(image: str) -> None:
    assert f'\nCMD ["{module_of(image)}"]\n' in stage(image)
    assert DOCKERFILE.count('ENTRYPOINT ["tini", "--", "python", "-m"]') == 1


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_all_that_its_modules_import(image: str, tmp_path: Path) -> None:
    copied = [path for path, to in re.findall(r"(?m)^COPY (\S+) (\S+)$", stage(image)) if path == to]
    for path in copied:
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / path, tmp_path / path)
    packages = sorted({path.partition("/")[0] for path in copied})
    command = [sys.executable, "-c", IMPORT_ALL, json.dumps(not_in(image)), *packages]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {f"{module_of(image)}.__main__", "libs.common.config"} <= set(done.stdout.split())


def test_an_image_tells_which_commit_runs_in_it() -> None:
    """The argument stands below what is built of other files, so that each new commit builds little anew."""
    assert "ENV ARGOSY_VERSION=$ARGOSY_VERSION\n" in DOCKERFILE.rpartition("\nFROM ")[2]


def test_it_does_not_run_as_root() -> None:
    assert DOCKERFILE.rstrip().endswith("\nUSER 10001:10001")


def test_packages_are_installed_from_the_lock_alone() -> None:
    (installed,) = re.findall(r"pip --python .*?\n\n", DOCKERFILE, re.DOTALL)
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:", "needed.txt"} <= set(installed.split())


def test_without_a_builder_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(CannotBuild, match="docker, podman, buildah"):
        builder()


def test_a_client_without_its_daemon_is_no_builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, code in (("docker", 1), ("podman", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert builder() == "podman"


def test_a_build_that_fails_is_said_and_shows_what_the_builder_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tool = tmp_path / "podman"
    tool.write_text('#!/bin/sh\necho "no such wheel"\nexit 7\n')
    tool.chmod(0o755)
    with pytest.raises(CannotBuild, match=r"build --build-arg SERVICE=ocr .* failed with exit status 7"):
        build(str(tool), "ocr", "dev", ["--pull=never"])
    assert "no such wheel" in capfd.readouterr().err
