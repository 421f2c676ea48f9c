"""There is an image of everything that runs, and it starts what its name says."""

import re
import shutil
from pathlib import Path

import pytest

from deploy.images.__main__ import IMAGES, CannotBuild, builder
from libs.common.contracts.services import SERVICES

ROOT = Path(__file__).parents[4]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()


def test_every_service_and_the_migrations_have_an_image() -> None:
    stages = set(re.findall(r"(?m)^FROM runtime AS (\S+)", DOCKERFILE))
    assert stages == set(IMAGES) == {service.name for service in SERVICES} | {"migrations"}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_starts_what_its_name_says(image: str) -> None:
    stage = DOCKERFILE.partition(f"FROM runtime AS {image}\n")[2].partition("\nFROM ")[0]
    module = "deploy.migrations" if image == "migrations" else f"services.{image}"
    assert f'ENTRYPOINT ["python", "-m", "{module}"]' in stage


def test_it_does_not_run_as_root() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "USER 10001:10001" in last


def test_without_a_builder_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(CannotBuild, match="docker, podman, buildah"):
        builder()
