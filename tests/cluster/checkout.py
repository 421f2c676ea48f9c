"""A checkout in which docs/deploy.md is followed: its own lines are run, and its own edits made, on the node.

What the page does not say: the component `oldest`, since the node's Kubernetes is older than the manifests are
for, and no rate limits, since the load comes from one address.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.k8s.rendering import ENVIRONMENTS
from tests.cluster.node import Node
from tests.limits import NO_LIMITS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/deploy.md"
SECTION = "From nothing to a first text"
EXTRA = "  - addresses\n  - ../../components/volume\n  - ../../components/oldest\n"


def steps() -> list[str]:
    """The lines of each step of the page, in order."""
    section = PAGE.read_text().partition(f"## {SECTION}\n")[2].partition("\n## ")[0]
    return [block.group(1) for block in re.finditer(r"^```sh\n(.*?)^```$", section, re.M | re.S)]


@dataclass(frozen=True)
class Checkout:
    """The folder, and the node that is kubectl's current cluster there."""

    folder: Path
    node: Node

    def commit(self, why: str) -> None:
        """Commit what was changed: `make deploy` takes nothing else."""
        self._do("git", "-c", "user.name=cluster-test", "-c", "user.email=test@example.com", "commit", "-qam", why)

    def change(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file; it must be there."""
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new))

    def shell(self, lines: str) -> str:
        """What these lines print, run as one would type them. Raises AssertionError with all that they said."""
        done = self._run(["bash", "-eu", "-o", "pipefail", "-c", lines])
        assert done.returncode == 0, f"{lines}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def _do(self, *command: str) -> str:
        return self.shell(" ".join(f"'{part}'" for part in command))

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        scripts = Path(sys.prefix, "bin")
        environment = os.environ | {"KUBECONFIG": str(self.node.kubeconfig)}
        environment["PATH"] = f"{scripts}:{environment['PATH']}"
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )


def check_out(node: Node, images: str) -> Checkout:
    """This commit, edited as the page says. `images`: the lines that `make images PUSH=…` printed."""
    folder = node.folder / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, folder], check=True)
    (folder / ".venv").symlink_to(sys.prefix)
    os.utime(folder / "requirements.lock", (0, 0))  # what is installed is not older
    with (folder / ".git/info/exclude").open("a") as excluded:
        excluded.write("/.venv\n")
    checkout = Checkout(folder, node)
    component = folder / "deploy/k8s/components/oldest"
    component.mkdir()
    (component / "kustomization.yaml").write_text((Path(__file__).parent / "oldest.yaml").read_text())
    for environment in ENVIRONMENTS:
        overlay = f"deploy/k8s/overlays/{environment}"
        checkout.change(f"{overlay}/kustomization.yaml", "  - addresses\n", EXTRA)
        listed = folder / overlay / "images/kustomization.yaml"
        listed.write_text(listed.read_text().partition("images:\n")[0] + "images:\n" + images)
        with (folder / overlay / "gateway.env").open("a") as settings:
            settings.write(f"LIMITS={NO_LIMITS}\n")
    checkout.change("deploy/k8s/components/volume/claim.yaml", "[ReadWriteMany]", "[ReadWriteOnce]")
    checkout._do("git", "add", "--all")
    checkout.commit("Deploy to the node")
    return checkout
