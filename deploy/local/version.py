"""Which code is checked out, and which of it each program runs.

The version is for people: a commit, and a few digits more if files of it were changed. What decides whether a
program is restarted is the content of the files that it runs, so a change of the documentation restarts nothing.
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from deploy.local.state import ROOT

PATTERNS = ("*.py", "*.lua", "*.html")
DIGITS = 7
SERVICE_SHARES = ("libs", "requirements.lock")
"""What every service runs beside its own folder."""


@cache
def checked_out(root: Path = ROOT) -> str:
    """`4dfe942`; with changed files `4dfe942+1c2d3e4`; where there is no git, a digest of all files."""
    commit = _git(root, "rev-parse", f"--short={DIGITS}", "HEAD")
    changes = _git(root, "diff", "HEAD", "--", *PATTERNS)
    if commit is None or changes is None:
        return f"content-{code_of(('deploy', 'libs', 'services'), root)[:DIGITS]}"
    digest = hashlib.sha256(changes).hexdigest()[:DIGITS]
    return commit.decode().strip() + (f"+{digest}" if changes else "")


def _git(root: Path, *words: str) -> bytes | None:
    """What git answers; None where there is no git, or no repository of this project's."""
    if not (root / ".git").exists():
        return None
    try:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def code_of(parts: Iterable[str], root: Path = ROOT) -> str:
    """A digest of these files and folders. Generated files and other people's are not in it."""
    found = hashlib.sha256()
    for part in sorted(parts):
        path = root / part
        files = [path] if path.is_file() else [file for pattern in PATTERNS for file in path.rglob(pattern)]
        for file in sorted(files):
            content = file.read_bytes()
            found.update(f"{file.relative_to(root)} {len(content)}\n".encode() + content)
    return found.hexdigest()


def service_code(name: str, root: Path = ROOT) -> str:
    """What a service runs: its own folder, what services share, and the interpreter."""
    return digest(code_of((f"services/{name}", *SERVICE_SHARES), root), sys.version)


def supervisor_code(root: Path = ROOT) -> str:
    """What the supervisor runs."""
    return digest(code_of(("deploy/local/supervisor.py",), root), version("circus"), sys.version)


def digest(*texts: str) -> str:
    """A few digits that are the same for the same texts only."""
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()[:16]
