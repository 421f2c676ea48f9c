"""One namespace of a cluster, through kubectl."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from deploy.k8s.rendering import Manifest, kubectl_path


class Refused(Exception):
    """A release cannot begin, or has failed. The message is for the operator."""


class Cluster:
    """A namespace of the cluster behind `context`, by default kubectl's current one."""

    def __init__(self, namespace: str, context: str | None = None) -> None:
        self.namespace = namespace
        self._options = [f"--namespace={namespace}", *([f"--context={context}"] if context else [])]

    def kubectl(self, *arguments: str, manifests: Sequence[Manifest] = ()) -> str:
        """What kubectl prints. It is given `manifests` as `-f -`. Raises Refused with what it says."""
        done = self._run(arguments, manifests)
        if done.returncode:
            raise Refused(f"kubectl {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def get(self, kind: str, name: str) -> Any:
        """The object, or None if it does not exist. Raises Refused."""
        text = self.kubectl("get", kind, name, "--ignore-not-found", "--output=json")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, selector: str = "") -> list[Manifest]:
        """The objects of a kind in the namespace, by labels. Raises Refused."""
        items: list[Manifest] = json.loads(self.kubectl("get", kind, f"--selector={selector}", "--output=json"))[
            "items"
        ]
        return items

    def apply(self, manifests: Sequence[Manifest]) -> str:
        """Say of each what became of it: created, configured or unchanged. Raises Refused."""
        return self.kubectl("apply", manifests=manifests)

    def create(self, manifest: Manifest) -> bool:
        """Whether it did not exist before. Raises Refused."""
        done = self._run(("create",), [manifest])
        if done.returncode and "AlreadyExists" not in done.stderr:
            raise Refused(f"kubectl create: {done.stderr.strip()}")
        return not done.returncode

    def delete(self, kind: str, name: str) -> None:
        """Delete it, if it is there, and wait until it is gone. Raises Refused."""
        self.kubectl("delete", kind, name, "--ignore-not-found")

    def difference(self, manifests: Sequence[Manifest]) -> str:
        """What applying them would change, as a diff; empty if nothing. Raises Refused."""
        done = self._run(("diff",), manifests)
        if done.returncode > 1:
            raise Refused(f"kubectl diff: {done.stderr.strip()}")
        return done.stdout

    def _run(self, arguments: Sequence[str], manifests: Sequence[Manifest]) -> subprocess.CompletedProcess[str]:
        given = "\n".join(json.dumps(manifest) for manifest in manifests) or None
        command = [kubectl_path(), *self._options, *arguments, *(["--filename=-"] if manifests else [])]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


def identity(manifest: Manifest) -> tuple[str, str]:
    """Its kind and name, as kubectl takes them."""
    return manifest["kind"].lower(), manifest["metadata"]["name"]
