"""A checkout of our manifests and the release command, and a cluster to release into."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from deploy.k8s.rendering import ENVIRONMENTS, kubectl_path, render
from deploy.release.checks import secrets_of
from deploy.release.history import BEGUN_LABEL, RELEASE_LABEL
from tests.kubernetes_api import KubernetesApi
from tests.polling import until

ROOT = Path(__file__).parents[4]
GIT = ("git", "-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false")


@dataclass
class Checkout:
    """A repository with our manifests and the release command, and a cluster that knows nothing of us yet."""

    folder: Path
    api: KubernetesApi
    environment: dict[str, str]

    def commit(self) -> None:
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", "Change something")

    def _git(self, *arguments: str) -> None:
        subprocess.run([*GIT, "-C", str(self.folder), *arguments], check=True, capture_output=True)

    def write(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text)

    def use_images(self, digit: str, *environments: str) -> None:
        """Commit overlays whose images have a digest of `digit`s."""
        for environment in environments or ENVIRONMENTS:
            path = self.folder / "deploy/k8s/overlays" / environment / "images/kustomization.yaml"
            content = yaml.safe_load(path.read_text())
            for image in content["images"]:
                image["digest"] = "sha256:" + 64 * digit
            path.write_text(yaml.safe_dump(content))
        self.commit()

    def _command(self, action: str, environment: str, *options: str) -> list[str]:
        return [sys.executable, "-m", "deploy.release", action, environment, *options]

    def run(self, *arguments: str, environment: str = "staging") -> subprocess.CompletedProcess[str]:
        action, *options = arguments
        return subprocess.run(
            self._command(action, environment, *options, "--within=5"),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    async def killed(
        self, reached: Callable[[], Awaitable[bool]], *options: str, by: signal.Signals = signal.SIGKILL
    ) -> str:
        """Deploy to staging until `reached`, and end all that was started for it. Returns its errors."""
        command = self._command("deploy", "staging", *options)
        with (
            (self.folder.parent / "errors").open("w+") as errors,
            subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            ) as running,
        ):
            try:
                await until(reached)
            finally:
                os.killpg(running.pid, by)
            assert await asyncio.to_thread(running.wait) != 0
            self.api.let_go()
            errors.seek(0)
            return errors.read()

    def done(self, *arguments: str, environment: str = "staging") -> str:
        """What it printed. It succeeded."""
        ran = self.run(*arguments, environment=environment)
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
        return ran.stdout

    def refused(self, *arguments: str, environment: str = "staging") -> str:
        """Why it was refused."""
        ran = self.run(*arguments, environment=environment)
        assert ran.returncode == 1, ran.stdout[-2000:] + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran.stderr

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """What kubectl prints. It succeeded."""
        command = [kubectl_path(), "--namespace=argosy-staging", *arguments]
        ran = subprocess.run(
            command, input=given, env=self.environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def images(self, environment: str = "staging") -> set[str]:
        """The images of all Deployments in the cluster."""
        return {
            one["spec"]["template"]["spec"]["containers"][0]["image"]
            for (kind, namespace, _), one in self.api.objects.items()
            if (kind, namespace) == ("Deployment", f"argosy-{environment}")
        }

    def kept(self) -> dict[int, bool]:
        """The releases that staging remembers, and whether each is out."""
        labels = [
            one["metadata"]["labels"]
            for (kind, namespace, name), one in self.api.objects.items()
            if (kind, namespace) == ("ConfigMap", "argosy-staging") and name.startswith("argosy-")
        ]
        return {int(one[RELEASE_LABEL]): BEGUN_LABEL not in one for one in labels}

    def add(self, name: str) -> None:
        """Commit one more Service in staging."""
        self.write(f"deploy/k8s/overlays/staging/{name}.yaml", yaml.safe_dump(_service(name)))
        self._change_resources(lambda resources: resources.append(f"{name}.yaml"))

    def remove(self, name: str) -> None:
        """Commit that there is no such Service any more."""
        self._change_resources(lambda resources: resources.remove(f"{name}.yaml"))

    def _change_resources(self, change: Callable[[list[str]], None]) -> None:
        path = self.folder / "deploy/k8s/overlays/staging/kustomization.yaml"
        content = yaml.safe_load(path.read_text())
        change(content["resources"])
        path.write_text(yaml.safe_dump(content))
        self.commit()

    def give_secrets(self, environment: str = "staging", value: str = "MQ==") -> None:
        """Make the namespace and the Secrets that the manifests ask for."""
        namespace = f"argosy-{environment}"
        self.api.put({"kind": "Namespace", "metadata": {"name": namespace}})
        overlay = self.folder / "deploy/k8s/overlays" / environment
        for manifest in [*render(overlay), *render(overlay / "migrations")]:
            if manifest["kind"] in ("Deployment", "Job"):
                for name in secrets_of(manifest["spec"]["template"]["spec"]):
                    self.api.put({"kind": "Secret", "metadata": {"name": name}, "data": {"A": value}}, namespace)


def image(name: str, digit: str) -> str:
    """As `use_images` has it."""
    return f"registry.example.com/argosy/{name}@sha256:{64 * digit}"


def _service(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 1}]}}
