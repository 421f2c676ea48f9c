"""What counts as another version, and for which program."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import version


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project of two services, under git."""
    for name in ("libs/a.py", "services/ocr/a.py", "services/gateway/a.lua", "deploy/a.py", "requirements.lock"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-qm", "x")
    yield tmp_path
    version.checked_out.cache_clear()


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def checked_out(project: Path) -> str:
    version.checked_out.cache_clear()
    return version.checked_out(project)


def test_a_version_is_a_commit_and_what_was_changed_since(project: Path) -> None:
    clean = checked_out(project)
    assert clean == git(project, "rev-parse", "--short=7", "HEAD")
    (project / "services/ocr/a.py").write_text("2\n")
    changed = checked_out(project)
    assert changed.startswith(f"{clean}+")
    (project / "services/ocr/a.py").write_text("3\n")
    assert checked_out(project) not in (clean, changed)


def test_where_there_is_no_git_the_content_counts(project: Path) -> None:
    (project / ".git").rename(project / "git")
    before = checked_out(project)
    assert before.startswith("content-")
    (project / "services/gateway/a.lua").write_text("2\n")
    assert checked_out(project) != before


@pytest.mark.parametrize(
    ("file", "concerned"),
    [
        ("services/ocr/a.py", {"ocr"}),
        ("services/gateway/a.lua", {"gateway"}),
        ("libs/a.py", {"ocr", "gateway"}),
        ("requirements.lock", {"ocr", "gateway"}),
        ("deploy/a.py", set()),
        ("services/ocr/README.md", set()),
    ],
)
def test_a_change_concerns_the_services_that_run_the_file(project: Path, file: str, concerned: set[str]) -> None:
    before = {name: version.service_code(name, project) for name in ("ocr", "gateway")}
    (project / file).write_text("2\n")
    after = {name: version.service_code(name, project) for name in ("ocr", "gateway")}
    assert {name for name in before if before[name] != after[name]} == concerned


def test_a_file_that_moved_is_another_code(project: Path) -> None:
    before = version.service_code("ocr", project)
    (project / "services/ocr/a.py").rename(project / "services/ocr/b.py")
    assert version.service_code("ocr", project) != before
