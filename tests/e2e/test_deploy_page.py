"""docs/deploy.md, pasted from its namespace to its release, with a stand-in for Kubernetes.

The stand-in has no pods: what runs in one (psql, the first text) only `make cluster-test` tries.
"""

import subprocess
from pathlib import Path

import yaml

from deploy.k8s.rendering import kubectl_path
from libs.common.contracts.services import SERVICES
from tests.e2e.pages import commands
from tests.e2e.pasting import Checkout, copied
from tests.integration.deploy.release.checkout import GIT
from tests.kubernetes_api import KubernetesApi, serving

PAGE = "docs/deploy.md"
RELEASE = "make deploy ENV=staging"
NEEDS_PODS = (" exec ", "make images ")
MAKES_SECRETS = '"$name-secrets" "$@"'
IN_JSON = f"{MAKES_SECRETS} --dry-run=client --output=json | kubectl create --filename=-"
"""By itself `kubectl create secret` sends protobuf, which the stand-in does not read."""
OVERLAY = "deploy/k8s/overlays/staging"


def test_the_steps_as_far_as_the_release_can_be_pasted(tmp_path: Path) -> None:
    mine, api = copied(tmp_path / "argosy"), KubernetesApi()
    _edit(mine.folder)
    texts = [one.text for one in commands(PAGE)]
    steps = [text.replace(MAKES_SECRETS, IN_JSON) for text in texts[: texts.index(RELEASE) + 1]]
    with serving(api, tmp_path) as kubeconfig:
        environment = {
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(tmp_path),
            "PATH": f"{Path(kubectl_path()).parent}:{mine.environment['PATH']}",
        }
        *_, told = Checkout(mine.folder, mine.environment | environment).paste(
            [step for step in steps if not any(word in step for word in NEEDS_PODS)]
        )
    assert "argosy-staging has release 1, commit " in told
    assert api.names("Deployment", "argosy-staging") == {service.name for service in SERVICES}
    assert api.names("StatefulSet", "argosy-staging") == {"postgres", "redis", "nats"}
    expected = {f"{service.name}-secrets" for service in SERVICES}
    assert api.names("Secret", "argosy-staging") >= expected | {"migrations-secrets", "postgres-secrets"}


def _edit(folder: Path) -> None:
    """Do what the page says in words: the digests of step 1 and the volume of step 6, and commit."""
    images = folder / OVERLAY / "images/kustomization.yaml"
    content = yaml.safe_load(images.read_text())
    for image in content["images"]:
        image["digest"] = "sha256:" + 64 * "1"
    images.write_text(yaml.safe_dump(content))
    environment = folder / OVERLAY / "kustomization.yaml"
    text = environment.read_text()
    assert "  - addresses\n" in text
    environment.write_text(text.replace("  - addresses\n", "  - addresses\n  - ../../components/volume\n"))
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "Deploy"]):
        subprocess.run([*GIT, "-C", str(folder), *command], check=True)
