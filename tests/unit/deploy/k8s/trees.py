"""The manifests as they are, and a copy of them that a test may change."""

import shutil
from copy import deepcopy
from functools import cache
from pathlib import Path

import yaml

from deploy.k8s.rendering import MANIFESTS, Manifest, render

_render_once = cache(render)


def unchanged(folder: Path) -> list[Manifest]:
    """The objects of a part of the manifests as they are: rendered once, in a process a folder."""
    return deepcopy(_render_once(folder))


def copied(folder: Path) -> Path:
    """The copy of deploy/k8s in `folder`."""
    return Path(shutil.copytree(MANIFESTS, folder / "k8s", ignore=shutil.ignore_patterns("*.py", "__pycache__")))


def added(kustomization: Path, key: str, *values: object) -> None:
    """Add to a list in a kustomization.yaml."""
    content = yaml.safe_load(kustomization.read_text())
    content.setdefault(key, []).extend(values)
    kustomization.write_text(yaml.safe_dump(content))
