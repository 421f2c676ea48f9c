"""The checkout that every test here is given."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.deploy.release.checkout import GIT, ROOT, Checkout
from tests.kubernetes_api import KubernetesApi, serving


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A clean commit with built images, and Secrets in the cluster."""
    folder = tmp_path / "checkout"
    for part in ("release", "k8s"):
        shutil.copytree(
            ROOT / "deploy" / part, folder / "deploy" / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    (folder / "deploy/__init__.py").touch()
    (folder / ".gitignore").write_text("__pycache__\n")
    subprocess.run([*GIT, "init", "--quiet", str(folder)], check=True)
    api = KubernetesApi()
    with serving(api, tmp_path) as kubeconfig:
        environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        made = Checkout(folder, api, environment)
        made.use_images("1")
        made.give_secrets()
        yield made
