"""make deploy and make rollback. kubectl and git are real; the cluster is a stand-in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from deploy.k8s.rendering import ENVIRONMENTS, render
from deploy.release.checks import NOT_BUILT, secrets_of
from deploy.release.history import KEPT
from deploy.release.rollout import LOCK
from tests.kubernetes_api import KubernetesApi, serving

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

    def run(self, *arguments: str, environment: str = "staging") -> subprocess.CompletedProcess[str]:
        action, *options = arguments
        command = [sys.executable, "-m", "deploy.release", action, environment, *options, "--within=5"]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

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

    def images(self, environment: str = "staging") -> set[str]:
        """The images of all Deployments in the cluster."""
        return {
            one["spec"]["template"]["spec"]["containers"][0]["image"]
            for (kind, namespace, _), one in self.api.objects.items()
            if (kind, namespace) == ("Deployment", f"argosy-{environment}")
        }

    def give_secrets(self, environment: str = "staging", value: str = "MQ==") -> None:
        """Make the namespace and the Secrets that the manifests ask for."""
        namespace = f"argosy-{environment}"
        self.api.put({"kind": "Namespace", "metadata": {"name": namespace}})
        overlay = self.folder / "deploy/k8s/overlays" / environment
        for manifest in [*render(overlay), *render(overlay / "migrations")]:
            if manifest["kind"] in ("Deployment", "Job"):
                for name in secrets_of(manifest["spec"]["template"]["spec"]):
                    self.api.put({"kind": "Secret", "metadata": {"name": name}, "data": {"A": value}}, namespace)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A clean commit with built images, and Secrets in the cluster."""
    folder = tmp_path / "checkout"
    for part in ("release", "k8s"):
        shutil.copytree(
            ROOT / "deploy" / part, folder / "deploy" / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    (folder / "deploy/__init__.py").touch()
    (folder / ".gitignore").write_text("__pycache__\n")
    subprocess.run([*GIT, "init", "--quiet", str(folder)], check=True)
    api = KubernetesApi()
    with serving(api, tmp_path) as kubeconfig:
        environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        made = Checkout(folder, api, environment)
        made.use_images("1")
        made.give_secrets()
        yield made


def test_all_is_applied_after_the_migrations(checkout: Checkout) -> None:
    told = checkout.done("deploy")
    assert "argosy-staging has release 1, commit " in told
    order = [(kind, name) for kind, _, name in checkout.api.written]
    assert order.index(("Job", "migrations")) < order.index(("Deployment", "gateway"))
    assert checkout.api.names("Deployment", "argosy-staging") == {"gateway", "ocr", "mailer"}
    assert LOCK not in checkout.api.names("ConfigMap", "argosy-staging")


def test_the_same_again_changes_nothing(checkout: Checkout) -> None:
    checkout.done("deploy")
    checkout.api.written.clear()
    assert "Nothing was changed" in checkout.done("deploy")
    assert checkout.api.written == []


def test_the_difference_is_shown(checkout: Checkout) -> None:
    checkout.done("deploy")
    checkout.use_images("2")
    assert f"+        image: registry.example.com/argosy/ocr@sha256:{64 * '2'}" in checkout.done("deploy")


def test_what_does_not_come_up_is_undone(checkout: Checkout) -> None:
    checkout.done("deploy")
    good = checkout.images()
    checkout.use_images("2")
    checkout.api.broken_images.add("registry.example.com/argosy/ocr@sha256:" + 64 * "2")
    told = checkout.refused("deploy")
    assert "The release failed and was undone: release 1 is out again." in told
    assert checkout.images() == good
    assert LOCK not in checkout.api.names("ConfigMap", "argosy-staging")
    checkout.api.broken_images.clear()
    assert "has release 2" in checkout.done("deploy"), "it can be tried again"


def test_what_only_a_failed_release_had_is_removed(checkout: Checkout) -> None:
    checkout.done("deploy")
    checkout.use_images("2", "staging")
    path = "deploy/k8s/overlays/staging/kustomization.yaml"
    content = yaml.safe_load((checkout.folder / path).read_text())
    checkout.write("deploy/k8s/overlays/staging/extra.yaml", yaml.safe_dump(_service("extra")))
    content["resources"].append("extra.yaml")
    checkout.write(path, yaml.safe_dump(content))
    checkout.commit()
    checkout.api.broken_images.add("registry.example.com/argosy/ocr@sha256:" + 64 * "2")
    checkout.refused("deploy")
    assert "extra" not in checkout.api.names("Service", "argosy-staging")
    checkout.api.broken_images.clear()
    checkout.done("deploy")
    assert "extra" in checkout.api.names("Service", "argosy-staging")
    content["resources"].remove("extra.yaml")
    checkout.write(path, yaml.safe_dump(content))
    checkout.commit()
    assert "deleted: service extra" in checkout.done("deploy")
    assert "extra" not in checkout.api.names("Service", "argosy-staging")


def _service(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 1}]}}


def test_a_first_release_that_fails_has_nothing_to_go_back_to(checkout: Checkout) -> None:
    checkout.api.broken_images.add("registry.example.com/argosy/ocr@sha256:" + 64 * "1")
    assert "There is no release before it to go back to." in checkout.refused("deploy")


def test_failing_migrations_leave_the_pods_as_they_were(checkout: Checkout) -> None:
    checkout.done("deploy")
    good = checkout.images()
    checkout.use_images("2")
    checkout.api.broken_images.add("registry.example.com/argosy/migrations@sha256:" + 64 * "2")
    assert "The migrations failed. The pods are as they were." in checkout.refused("deploy")
    assert checkout.images() == good


def test_a_second_release_at_the_same_time_is_refused(checkout: Checkout) -> None:
    held = {"since": "2026-01-01 00:00:00Z", "commit": "0123456789abcdef"}
    checkout.api.put({"kind": "ConfigMap", "metadata": {"name": LOCK}, "data": held}, "argosy-staging")
    told = checkout.refused("deploy")
    assert "Another release, of 0123456789ab, is under way since 2026-01-01 00:00:00Z" in told
    assert f"delete configmap {LOCK}" in told
    assert checkout.images() == set()
    assert LOCK in checkout.api.names("ConfigMap", "argosy-staging"), "it is the other's"


def test_going_back_brings_the_images_and_settings_of_before(checkout: Checkout) -> None:
    checkout.done("deploy")
    checkout.use_images("2")
    checkout.done("deploy")
    assert "has release 1 again, as release 3" in checkout.done("rollback")
    assert all(image.endswith(64 * "1") for image in checkout.images())
    assert "has release 2 again, as release 4" in checkout.done("rollback", "--to=2")
    assert all(image.endswith(64 * "2") for image in checkout.images())
    assert "Kept before the present one: 1, 2, 3." in checkout.refused("rollback", "--to=9")


def test_without_an_earlier_release_there_is_no_way_back(checkout: Checkout) -> None:
    checkout.done("deploy")
    assert "There is no such earlier release" in checkout.refused("rollback")


def test_settings_stay_as_long_as_a_kept_release_needs_them(checkout: Checkout) -> None:
    path = checkout.folder / "deploy/k8s/overlays/staging/gateway.env"
    original = path.read_text()
    seen = []
    for number in range(KEPT + 2):
        path.write_text(f"{original}\nGATEWAY_MAX_KEYS={number + 1}\n")
        checkout.commit()
        checkout.done("deploy")
        kept = {name for name in checkout.api.names("ConfigMap", "argosy-staging") if name.startswith("gateway-")}
        seen.append(kept)
    assert [len(kept) for kept in seen] == [1, 2, 3, 4, 5, 5, 5]
    releases = {name for name in checkout.api.names("ConfigMap", "argosy-staging") if name.startswith("argosy-")}
    assert releases == {f"argosy-release-{number}" for number in range(3, KEPT + 3)}


def test_a_changed_secret_restarts_the_pods_that_read_it(checkout: Checkout) -> None:
    checkout.done("deploy")
    secret = {"kind": "Secret", "metadata": {"name": "ocr-secrets"}, "data": {"A": "Mg=="}}
    checkout.api.put(secret, "argosy-staging")
    checkout.api.written.clear()
    checkout.done("deploy")
    assert [name for kind, _, name in checkout.api.written if kind == "Deployment"] == ["ocr"]


def test_a_missing_secret_is_named_before_anything_is_changed(checkout: Checkout) -> None:
    del checkout.api.objects["Secret", "argosy-staging", "ocr-secrets"]
    told = checkout.refused("deploy")
    assert "argosy-staging lacks the Secrets ocr-secrets: see secrets.example.env." in told
    assert checkout.images() == set()


def test_a_cluster_without_the_namespace_is_taken_for_the_wrong_one(checkout: Checkout) -> None:
    for key in list(checkout.api.objects):
        del checkout.api.objects[key]
    assert "Is it the right one?" in checkout.refused("deploy")
    assert checkout.api.objects == {}
    told = checkout.refused("deploy", "--first")
    assert "lacks the Secrets" in told
    assert list(checkout.api.objects) == [("Namespace", "", "argosy-staging")]
    checkout.give_secrets()
    assert "has release 1" in checkout.done("deploy")


def test_an_unknown_context_is_refused(checkout: Checkout) -> None:
    assert 'context "elsewhere" does not exist' in checkout.refused("deploy", "--context=elsewhere")


def test_files_that_differ_from_the_commit_are_refused(checkout: Checkout) -> None:
    checkout.write("deploy/k8s/overlays/staging/note.txt", "not committed")
    assert "note.txt" in checkout.refused("deploy")


def test_images_that_were_not_built_are_refused(checkout: Checkout) -> None:
    checkout.use_images("0")
    told = checkout.refused("deploy")
    assert f"registry.example.com/argosy/ocr{NOT_BUILT}" in told
    assert "make images" in told


def test_manifests_that_cannot_be_rendered_are_refused(checkout: Checkout) -> None:
    checkout.write("deploy/k8s/overlays/staging/kustomization.yaml", "resources: [nowhere]")
    checkout.commit()
    assert "nowhere" in checkout.refused("deploy")


def test_production_is_changed_only_when_somebody_says_so(checkout: Checkout) -> None:
    checkout.give_secrets("production")
    assert "YES=1" in checkout.refused("deploy", environment="production")
    assert checkout.images("production") == set()
    assert "argosy-production has release 1" in checkout.done("deploy", "--yes", environment="production")
    assert len(checkout.images("production")) == 3


def test_a_server_that_is_away_is_said(checkout: Checkout) -> None:
    checkout.environment["KUBECONFIG"] = str(checkout.folder / "nothing-here")
    assert "kubectl get" in checkout.refused("deploy")
