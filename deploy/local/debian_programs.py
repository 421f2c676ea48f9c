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
PACKAGES = {name: name for name in ("prometheus", "nginx", "haproxy", "caddy")} | {
    "apache2": "apache2-bin",
    "promtool": "prometheus",
}
"""By program, the package with it."""
LIBRARIES = {
    "apache2-bin": ("libapr1", "libaprutil1", "libapr1t64", "libaprutil1t64", "libnghttp2-14"),
    "haproxy": ("liblua5.3-0", "liblua5.4-0", "libopentracing1", "libopentracing-c-wrapper0"),
}
"""By package, those with libraries that a machine may not have. Each release of Debian has some of them."""


def find(program: str) -> str:
    """The path of `program`. Raises CannotRun with the command to run if it is not to be had."""
    if found := shutil.which(program):
        return found
    package = PACKAGES[program]
    if not (CACHE / package).exists():
        _unpack(package)
    return str(next((CACHE / package / "usr").glob(f"*bin/{program}")))


def environment_of(path: str) -> dict[str, str]:
    """The variables with which the program that `find` has found finds its libraries."""
    folders = (str(folder) for folder in Path(path).parents[1].glob("lib/*-linux-gnu*"))
    return {"LD_LIBRARY_PATH": ":".join(folders)} if path.startswith(str(CACHE)) else {}


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
        for library in LIBRARIES.get(package, ()):
            _downloaded(library, folder)
        unpacked = Path(folder) / "unpacked"
        for archive in Path(folder).glob("*.deb"):
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
