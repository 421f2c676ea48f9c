"""Finds programs that no wheel contains: on the PATH, or in Debian's package, which is unpacked and not installed.

An installed package would start its server with the machine, and needs root.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.local.errors import CannotRun

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argosy"
PACKAGES = {"promtool": "prometheus", "prometheus": "prometheus"}
"""By program, the package with it."""


def find(program: str) -> str:
    """The path of `program`. Raises CannotRun with the command to run if it is not to be had."""
    if found := shutil.which(program):
        return found
    package = PACKAGES[program]
    path = CACHE / package / "usr" / "bin" / program
    if not path.exists():
        _unpack(package)
    return str(path)


def _unpack(package: str) -> None:
    """Unpack Debian's package into CACHE. Several processes may do so at once."""
    by_hand = CannotRun(f"{package} is not installed. Run: sudo apt-get install {package}")
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise by_hand
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        if not _downloaded(package, folder):
            if os.geteuid() == 0:  # a fresh machine has no lists of packages
                _ran("apt-get", "update", "-q")
            if not _downloaded(package, folder):
                raise by_hand
        (archive,) = Path(folder).glob("*.deb")
        unpacked = Path(folder) / "unpacked"
        if not _ran("dpkg-deb", "--extract", str(archive), str(unpacked)):
            raise by_hand
        try:
            unpacked.rename(CACHE / package)
        except OSError:
            if not (CACHE / package).exists():  # another process was faster
                raise


def _downloaded(package: str, folder: str) -> bool:
    return _ran("apt-get", "download", "-q", package, folder=folder)


def _ran(*command: str, folder: str | None = None) -> bool:
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
